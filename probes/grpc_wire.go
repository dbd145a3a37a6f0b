// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// The wire format of a health check is small enough to write by hand; the gRPC library
// would be the largest dependency of this program.
//
//	POST /grpc.health.v1.Health/Check       over HTTP/2, content-type application/grpc, te: trailers
//	body, both ways: 1 byte 0 (not compressed), 4 bytes length, big endian, then one message
//	request:  message HealthCheckRequest  { string service = 1; }
//	response: message HealthCheckResponse { ServingStatus status = 1; }
//	trailers: grpc-status (0 is OK) and grpc-message (percent-encoded)
//
// Sources: github.com/grpc/grpc doc/PROTOCOL-HTTP2.md and doc/health-checking.md,
// github.com/grpc/grpc-proto grpc/health/v1/health.proto, and
// protobuf.dev/programming-guides/encoding for the messages.

const (
	grpcCheckPath = "/grpc.health.v1.Health/Check"
	grpcFrameHead = 5
	// maxGRPCMessage is how long an answer may be. One with all fields of today has 2 bytes.
	maxGRPCMessage = 4 << 10
)

// A servingStatus is the enum of HealthCheckResponse.
type servingStatus uint64

const (
	grpcUnknown        servingStatus = 0
	grpcServing        servingStatus = 1
	grpcNotServing     servingStatus = 2
	grpcServiceUnknown servingStatus = 3 // used by Watch only, says the specification
)

func (s servingStatus) String() string {
	switch s {
	case grpcUnknown:
		return "UNKNOWN"
	case grpcServing:
		return "SERVING"
	case grpcNotServing:
		return "NOT_SERVING"
	case grpcServiceUnknown:
		return "SERVICE_UNKNOWN"
	}
	return fmt.Sprintf("status %d", uint64(s))
}

// Wire types of protobuf.
const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

// grpcRequest is the whole body of a request.
func grpcRequest(service string) []byte {
	var msg []byte
	if service != "" { // a field that has its default is left out
		msg = append(msg, 1<<3|wireBytes)
		msg = binary.AppendUvarint(msg, uint64(len(service)))
		msg = append(msg, service...)
	}
	body := make([]byte, grpcFrameHead, grpcFrameHead+len(msg))
	binary.BigEndian.PutUint32(body[1:], uint32(len(msg)))
	return append(body, msg...)
}

// Why a body is no answer.
var (
	errGRPCEmpty      = errors.New("no message came")
	errGRPCCompressed = errors.New("the message is compressed, which we did not ask for")
	errGRPCCut        = errors.New("the message is cut off")
	errGRPCMore       = errors.New("more than one message came")
	errProtobuf       = errors.New("the message is not protobuf")
)

// parseGRPC reads the body of an answer.
func parseGRPC(body []byte) (servingStatus, error) {
	if len(body) == 0 {
		return 0, errGRPCEmpty
	}
	if len(body) < grpcFrameHead {
		return 0, errGRPCCut
	}
	if body[0] != 0 {
		return 0, errGRPCCompressed
	}
	size := binary.BigEndian.Uint32(body[1:])
	msg := body[grpcFrameHead:]
	switch {
	case uint64(len(msg)) < uint64(size):
		return 0, errGRPCCut
	case uint64(len(msg)) > uint64(size):
		return 0, errGRPCMore
	}
	return parseHealth(msg)
}

// parseHealth reads a HealthCheckResponse. Fields that are not known are passed over,
// as protobuf wants it; of a field that comes twice the last one counts.
func parseHealth(msg []byte) (servingStatus, error) {
	status := grpcUnknown // the default, which is not sent
	for len(msg) > 0 {
		tag, n := binary.Uvarint(msg)
		if n <= 0 || tag>>3 == 0 || tag>>3 >= 1<<29 {
			return 0, errProtobuf
		}
		msg = msg[n:]
		value, n := protobufValue(msg, int(tag&7))
		if n < 0 {
			return 0, errProtobuf
		}
		msg = msg[n:]
		if tag == 1<<3|wireVarint {
			status = servingStatus(value)
		}
	}
	return status, nil
}

// protobufValue is the number at the beginning of b, 0 for what is none, and how many
// bytes it takes; -1 if there is no whole value.
func protobufValue(b []byte, wire int) (uint64, int) {
	switch wire {
	case wireVarint:
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, -1
		}
		return v, n
	case wireFixed8, wireFixed4:
		n := 8
		if wire == wireFixed4 {
			n = 4
		}
		if len(b) < n {
			return 0, -1
		}
		return 0, n
	case wireBytes:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return 0, -1
		}
		return 0, n + int(size)
	}
	return 0, -1 // groups, which proto3 does not have
}

// grpcCodes are the names of grpc-status, by number (doc/statuscodes.md).
var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// grpcDeadline is the grpc-status of a server that gives up at the caller's deadline.
const grpcDeadline = "4"

// percentDecoded undoes the encoding of grpc-message. What is no escape stays as it
// is, as the specification wants it.
func percentDecoded(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

// unhex is the value of a hexadecimal digit, -1 of anything else.
func unhex(c byte) int {
	at := strings.IndexByte("0123456789abcdef0123456789ABCDEF", c)
	if at < 0 {
		return -1
	}
	return at % 16
}
