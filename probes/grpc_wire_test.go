// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"slices"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// TestGRPCWireAsTheLibrary: our bytes are the library's, both ways.
func TestGRPCWireAsTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		service := rapid.String().Draw(t, "service")
		raw := grpcRequest(service)
		var got healthpb.HealthCheckRequest
		if err := proto.Unmarshal(raw[grpcFrameHead:], &got); err != nil || got.GetService() != service {
			t.Fatalf("%q: %v, %v", service, &got, err)
		}
		state := rapid.Int32Range(0, 1<<30).Draw(t, "state")
		msg, err := proto.Marshal(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_ServingStatus(state)})
		if err != nil {
			t.Fatal(err)
		}
		if status, err := parseHealth(msg); err != nil || status != servingStatus(state) {
			t.Fatalf("%x: %d, %v", msg, status, err)
		}
	})
}

func TestGRPCMessages(t *testing.T) {
	later := protowire.AppendString(protowire.AppendTag(nil, 7, protowire.BytesType), "news")
	later = protowire.AppendFixed64(protowire.AppendTag(later, 8, protowire.Fixed64Type), 5)
	later = protowire.AppendFixed32(protowire.AppendTag(later, 9, protowire.Fixed32Type), 5)
	for name, tt := range map[string]struct {
		msg    []byte
		status servingStatus
		err    error
	}{
		"empty":                {nil, grpcUnknown, nil},
		"serving":              {[]byte{8, 1}, grpcServing, nil},
		"the last one counts":  {[]byte{8, 1, 8, 2}, grpcNotServing, nil},
		"fields of the future": {append(slices.Clone(later), 8, 3), grpcServiceUnknown, nil},
		"field 0":              {[]byte{0, 1}, 0, errProtobuf},
		"group":                {[]byte{0x0b}, 0, errProtobuf},
		"endless number":       {[]byte{8, 0xff}, 0, errProtobuf},
		"too large a number":   {append([]byte{8}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), 0, errProtobuf},
		"string too long":      {[]byte{0x3a, 5, 'a'}, 0, errProtobuf},
		"fixed too short":      {[]byte{0x41, 1, 2, 3}, 0, errProtobuf},
	} {
		if status, err := parseHealth(tt.msg); status != tt.status || !errors.Is(err, tt.err) {
			t.Errorf("%s: %s, %v; want %s, %v", name, status, err, tt.status, tt.err)
		}
	}
}

func TestPercentDecoded(t *testing.T) {
	for in, want := range map[string]string{
		"":             "",
		"plain":        "plain",
		"100%25":       "100%",
		"f%C3%BCr":     "für",
		"%4a%4B":       "JK",
		"%":            "%",
		"%4":           "%4",
		"%zz and %2":   "%zz and %2",
		"%25%32%35":    "%25",
		"%\x10\x11%20": "%\x10\x11 ",
	} {
		if got := percentDecoded(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzGRPCAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1}, "0", "")
	f.Add([]byte{0, 0, 0, 0, 0}, "0", "x")
	f.Add([]byte{}, "5", "no%20such")
	f.Add([]byte{0, 0, 0, 0, 5, 0x3a, 3, 'a', 'b', 'c'}, "12", "%ff%")
	f.Fuzz(func(t *testing.T, body []byte, status, message string) {
		p := &grpcProbe{spec: &core.GRPCSpec{Service: "x"}}
		r := p.judge(grpcAnswer{http: 200, kind: "application/grpc", status: status, message: percentDecoded(message), body: body})
		if !r.code.Known() || r.ok != (r.code == core.L7OK) || r.detail == "" || r.ok && status != "0" {
			t.Errorf("%+v", r)
		}
		if len(body) < grpcFrameHead {
			return
		}
		// Where the library reads a message, we read the same; where it does not, we do not.
		var theirs healthpb.HealthCheckResponse
		err := proto.Unmarshal(body[grpcFrameHead:], &theirs)
		ours, ourErr := parseHealth(body[grpcFrameHead:])
		if err == nil && ourErr == nil && int32(ours) != int32(theirs.GetStatus()) {
			t.Errorf("%x: %d, the library says %d", body, ours, theirs.GetStatus())
		}
		if err != nil && ourErr == nil && !errors.Is(err, proto.Error) {
			t.Errorf("%x: the library says %v", body, err)
		}
	})
}
