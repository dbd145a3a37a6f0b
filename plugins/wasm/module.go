// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// Limits of a module. A page is 64 KiB.
const (
	MaxModule = 8 << 20 // bytes of WASM
	pages     = 16 << 20 >> 16
	// wasiPages is for modules with a runtime of their own, Go's above all.
	wasiPages = 32 << 20 >> 16
)

// IsModule reports whether code begins as a module of WASM does.
func IsModule(code []byte) bool { return bytes.HasPrefix(code, []byte("\x00asm")) }

// A Module is a compiled policy module and its instance.
type Module struct {
	rt       wazero.Runtime
	compiled wazero.CompiledModule
	host     *host
	manifest []byte

	inst     api.Module // nil after a fault, until the next call
	memory   api.Memory
	alloc    api.Function
	schedule api.Function
	ptr, cap uint32 // the guest's block for the snapshot
}

// Load compiles a module and checks that it is one of ABI v1.
func Load(ctx context.Context, code []byte) (*Module, error) {
	if len(code) > MaxModule {
		return nil, fmt.Errorf("the module has %d bytes, at most %d are taken", len(code), MaxModule)
	}
	if !IsModule(code) {
		return nil, errors.New("not a WASM module")
	}
	limit := uint32(pages)
	if bytes.Contains(code, []byte(wasiModule)) {
		limit = wasiPages
	}
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithMemoryLimitPages(limit).WithDebugInfoEnabled(false).WithCustomSections(false))
	m := &Module{rt: rt, host: &host{}}
	if err := m.load(ctx, code); err != nil {
		_ = rt.Close(ctx) // the first error is the one to tell
		return nil, err
	}
	return m, nil
}

func (m *Module) load(ctx context.Context, code []byte) error {
	compiled, err := m.rt.CompileModule(ctx, code)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	m.compiled = compiled
	if err := checkContract(compiled); err != nil {
		return err
	}
	if err := m.host.install(ctx, m.rt); err != nil {
		return err
	}
	m.host.begin(0, 0)
	if err := m.instantiate(ctx); err != nil {
		return err
	}
	if err := m.checkVersion(ctx); err != nil {
		return err
	}
	return m.readManifest(ctx)
}

// checkVersion refuses a module that wants more of the ABI than there is.
func (m *Module) checkVersion(ctx context.Context) error {
	r, err := m.inst.ExportedFunction(abi.ExportABI).Call(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", abi.ExportABI, m.host.explain(err))
	}
	if minor := uint32(r[0]); minor > abi.Minor {
		return fmt.Errorf("it needs ABI v%d.%d and this steelyard speaks v%d.%d: upgrade steelyard, or build it with the SDK of this version",
			abi.Major, minor, abi.Major, abi.Minor)
	}
	return nil
}

func (m *Module) instantiate(ctx context.Context) error {
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(allocate))
	inst, err := m.rt.InstantiateModule(ctx, m.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		return fmt.Errorf("start: %w", m.host.explain(err))
	}
	m.inst, m.memory = inst, inst.ExportedMemory(abi.ExportMemory)
	m.alloc, m.schedule = inst.ExportedFunction(abi.ExportAlloc), inst.ExportedFunction(abi.ExportSchedule)
	m.ptr, m.cap = 0, 0
	return nil
}

func (m *Module) readManifest(ctx context.Context) error {
	f := m.inst.ExportedFunction(abi.ExportManifest)
	if f == nil {
		return nil
	}
	r, err := f.Call(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", abi.ExportManifest, m.host.explain(err))
	}
	ptr, size := uint32(r[0]>>32), uint32(r[0])
	if size > abi.MaxManifest {
		return fmt.Errorf("%s: %d bytes, at most %d are read", abi.ExportManifest, size, abi.MaxManifest)
	}
	text, ok := m.memory.Read(ptr, size)
	if !ok {
		return fmt.Errorf("%s: the text is outside the module's memory", abi.ExportManifest)
	}
	m.manifest = bytes.Clone(text)
	return nil
}

// Manifest is the module's manifest, not yet checked; nil if it has none.
func (m *Module) Manifest() []byte { return m.manifest }

// Call runs the policy on a snapshot that abi.Encode made and appends what it
// answered, the snapshot from its AnswerOffset on, to dst.
func (m *Module) Call(ctx context.Context, dst, snapshot []byte) ([]byte, error) {
	if err := abi.CheckSnapshot(snapshot); err != nil {
		return dst, err
	}
	m.host.begin(abi.Seed(snapshot), abi.Now(snapshot))
	if m.inst == nil {
		if err := m.instantiate(ctx); err != nil {
			return dst, err
		}
	}
	dst, err := m.call(ctx, dst, snapshot)
	if err != nil && m.inst != nil && !errors.Is(err, errStatus) {
		_ = m.inst.Close(ctx) // its memory is suspect; whatever Close says, it is dropped
		m.inst = nil
	}
	return dst, err
}

// errStatus is an orderly refusal: the instance stays good.
var errStatus = errors.New("the policy answered with an error")

func (m *Module) call(ctx context.Context, dst, snapshot []byte) ([]byte, error) {
	size := uint32(len(snapshot))
	var stack [2]uint64
	if size > m.cap {
		stack[0] = uint64(size)
		if err := m.alloc.CallWithStack(ctx, stack[:]); err != nil {
			return dst, fmt.Errorf("%s: %w", abi.ExportAlloc, m.host.explain(err))
		}
		m.ptr, m.cap = uint32(stack[0]), size
		if m.ptr == 0 || m.ptr%8 != 0 {
			m.cap = 0
			return dst, fmt.Errorf("%s: answered %d for %d bytes: want an address that 8 divides", abi.ExportAlloc, m.ptr, size)
		}
	}
	if !m.memory.Write(m.ptr, snapshot) {
		return dst, fmt.Errorf("%s: the block of %d bytes at %d is outside the memory", abi.ExportAlloc, size, m.ptr)
	}
	stack[0], stack[1] = uint64(m.ptr), uint64(size)
	if err := m.schedule.CallWithStack(ctx, stack[:]); err != nil {
		return dst, fmt.Errorf("%s: %w", abi.ExportSchedule, m.host.explain(err))
	}
	if status := int32(uint32(stack[0])); status != 0 {
		return dst, m.host.refusal(status)
	}
	off := abi.AnswerOffset(snapshot)
	part, ok := m.memory.Read(m.ptr+off, size-off)
	if !ok {
		return dst, errors.New("the answer is outside the memory")
	}
	return append(dst, part...), nil
}

// Logs are the lines that the last Load or Call logged; good until the next.
func (m *Module) Logs() []abi.Line { return m.host.said() }

// Close frees the module.
func (m *Module) Close(ctx context.Context) error { return m.rt.Close(ctx) }
