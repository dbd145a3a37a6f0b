// SPDX-License-Identifier: Apache-2.0

package layout

// A Type of a field.
type Type string

// The types. Numbers are little endian and naturally aligned.
const (
	U8      Type = "u8"
	U16     Type = "u16"
	U32     Type = "u32"
	U64     Type = "u64"
	I32     Type = "i32"
	I64     Type = "i64"
	F32     Type = "f32"
	F64     Type = "f64"
	Char4   Type = "char[4]"
	Bytes4  Type = "bytes[4]"
	Bytes8  Type = "bytes[8]"
	Bytes16 Type = "bytes[16]"
)

var sizes = map[Type]int{U8: 1, U16: 2, U32: 4, U64: 8, I32: 4, I64: 8, F32: 4, F64: 8, Char4: 4, Bytes4: 4, Bytes8: 8, Bytes16: 16}

// Size is the number of bytes.
func (t Type) Size() int { return sizes[t] }

// Reserved reports whether the bytes are zero and nobody's.
func (t Type) Reserved() bool { return t == Bytes4 || t == Bytes8 || t == Bytes16 }

// A Field is one field of a struct.
type Field struct {
	Off   int
	Type  Type
	Name  string // words joined by underscores, as C spells it
	About string
	Since int // the minor version that brought it
	// Raw says that an SDK gives authors something better than these bytes: a
	// number instead of an offset, a ratio instead of its 65536 parts.
	Raw bool
}

// A Struct is one block with fields.
type Struct struct {
	Name   string // words, as Field.Name
	About  string
	Size   int
	Fields []Field
}

// Header is the start of a snapshot.
var Header = Struct{"header", "the start of a snapshot", 128, []Field{
	{Off: 0, Type: Char4, Name: "magic", About: `"SYD1"`, Raw: true},
	{Off: 4, Type: U16, Name: "major", About: "1", Raw: true},
	{Off: 6, Type: U16, Name: "minor", About: "of the host, 1", Raw: true},
	{Off: 8, Type: U32, Name: "header_size", About: "bytes of this header, 128 or more", Raw: true},
	{Off: 12, Type: U32, Name: "total_size", About: "bytes of the snapshot", Raw: true},
	{Off: 16, Type: U64, Name: "service_id", About: "the same on every node and after every restart"},
	{Off: 24, Type: U64, Name: "seq", About: "counts the decisions"},
	{Off: 32, Type: I64, Name: "unix_nano", About: "time of the decision, nanoseconds since 1970 UTC"},
	{Off: 40, Type: F64, Name: "seconds", About: "since the decision before; 0 at the first"},
	{Off: 48, Type: U32, Name: "n", About: "number of backends", Raw: true},
	{Off: 52, Type: U32, Name: "stride", About: "bytes of a backend record, 96 or more", Raw: true},
	{Off: 56, Type: U32, Name: "records_off", About: "where the records are", Raw: true},
	{Off: 60, Type: U32, Name: "out_off", About: "where the answer goes", Raw: true},
	{Off: 64, Type: U32, Name: "service_state_off", About: "where the service's state is", Raw: true},
	{Off: 68, Type: U32, Name: "service_state_len", About: "its bytes", Raw: true},
	{Off: 72, Type: U32, Name: "backend_state_off", About: "where the backends' state is", Raw: true},
	{Off: 76, Type: U32, Name: "backend_state_stride", About: "its bytes per backend", Raw: true},
	{Off: 80, Type: U32, Name: "params_off", About: "where the parameters are", Raw: true},
	{Off: 84, Type: U32, Name: "n_params", About: "how many", Raw: true},
	{Off: 88, Type: U32, Name: "entry", About: "which policy of the manifest is meant", Raw: true},
	{Off: 92, Type: U32, Name: "n_custom", About: "number of custom metrics", Since: 1, Raw: true},
	{Off: 96, Type: U32, Name: "custom_dir_off", About: "where their directory is; 0 if there are none", Since: 1, Raw: true},
	{Off: 100, Type: I32, Name: "utc_offset", About: "seconds that the node's clock is east of UTC at unix_nano", Since: 1},
	{Off: 104, Type: U64, Name: "seed", About: "for random numbers: another one at every decision, the same in a replay"},
	{Off: 112, Type: Bytes16, Name: "reserved", About: "zero"},
}}

// Backend is the record of one backend.
var Backend = Struct{"backend", "the record of one backend", 96, []Field{
	{Off: 0, Type: U64, Name: "id", About: "stays with the backend: the same on every node and after every restart"},
	{Off: 8, Type: U32, Name: "weight", About: "configured, 0 to 1000; 0 means no new connections"},
	{Off: 12, Type: U32, Name: "share", About: "applied by the decision before, in 1/65536", Raw: true},
	{Off: 16, Type: U8, Name: "health", About: "0 unknown, 1 up, 2 down; take any other number for unknown"},
	{Off: 17, Type: U8, Name: "flags", About: "zero", Raw: true},
	{Off: 18, Type: U16, Name: "valid", About: "bits of the readings that are known", Raw: true},
	{Off: 20, Type: U32, Name: "connections", About: "open connections", Raw: true},
	{Off: 24, Type: F64, Name: "cpu", About: "busy ratio of all cores, 0 to 1"},
	{Off: 32, Type: F64, Name: "response", About: "response time, seconds"},
	{Off: 40, Type: F64, Name: "opened", About: "connections opened per second"},
	{Off: 48, Type: F64, Name: "closed", About: "connections closed per second, over cpu_window where the CPU is known"},
	{Off: 56, Type: F64, Name: "cores", About: "number of cores"},
	{Off: 64, Type: F32, Name: "cpu_age", About: "seconds"},
	{Off: 68, Type: F32, Name: "response_age", About: "seconds"},
	{Off: 72, Type: F32, Name: "connections_age", About: "seconds"},
	{Off: 76, Type: F32, Name: "health_seconds", About: "time in this state of health"},
	{Off: 80, Type: F32, Name: "cpu_window", About: "seconds that cpu and closed were averaged over"},
	{Off: 84, Type: U32, Name: "cpu_seq", About: "counts fresh CPU samples: while it stands still, cpu is a repeat"},
	{Off: 88, Type: Bytes8, Name: "reserved", About: "zero"},
}}

// Metric is an entry in the directory of custom metrics.
var Metric = Struct{"metric", "an entry in the directory of custom metrics", 24, []Field{
	{Off: 0, Type: U32, Name: "hash", About: "32-bit FNV-1a of the name", Since: 1, Raw: true},
	{Off: 4, Type: U32, Name: "name_off", About: "where the name is", Since: 1, Raw: true},
	{Off: 8, Type: U32, Name: "name_len", About: "its bytes", Since: 1, Raw: true},
	{Off: 12, Type: U32, Name: "values_off", About: "where the values are: f64[n], NaN unknown", Since: 1, Raw: true},
	{Off: 16, Type: U32, Name: "ages_off", About: "where their ages are: f32[n] seconds, NaN unknown", Since: 1, Raw: true},
	{Off: 20, Type: Bytes4, Name: "reserved", About: "zero", Since: 1},
}}

// Structs are all of them.
var Structs = []Struct{Header, Backend, Metric}

// A Number is a named number of the ABI.
type Number struct {
	Name  string // words
	Value uint32
	About string
}

// Version and sizes.
const (
	Magic = "SYD1"
	Major = 1
	Minor = 1
)

// Readings are the bits of Backend's valid, in the order of the manifest's
// names for them.
var Readings = []Number{
	{"cpu", 1, "cpu, cpu_age, cpu_window"},
	{"cores", 2, "cores"},
	{"response", 4, "response, response_age"},
	{"connections", 8, "connections, connections_age"},
	{"opened", 16, "opened"},
	{"closed", 32, "closed"},
}

// Healths are the numbers of Backend's health.
var Healths = []Number{{"unknown", 0, ""}, {"up", 1, ""}, {"down", 2, ""}}

// Levels are those of the import log.
var Levels = []Number{{"debug", 0, ""}, {"info", 1, ""}, {"warn", 2, ""}, {"error", 3, ""}}

// Answers are the words of an answer that have a name.
var Answers = []Number{
	{"not_written", 0xFFFFFFFF, "what the host fills in: it spoils the answer"},
	{"hold", 0xFFFFFFFE, "no opinion"},
	{"max_weight", 1_000_000_000, "the largest weight"},
}
