// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// unanswered says why no whole answer came; other is about errors that do not speak for
// themselves.
func (p *grpcProbe) unanswered(ctx context.Context, start time.Time, err error, other func() result) result {
	note(ctx, "answer", "%v", err)
	switch {
	case errors.Is(err, errFlood):
		return bad(core.L7Response, "%s %v", p.addr, errFlood)
	case errors.Is(err, errGRPCLong):
		return bad(core.L7Response, "%s: %v", p.addr, err)
	case timedOut(err) || hungUp(ctx):
		return bad(core.L7Timeout, "connected to %s, but the call got no whole answer in %s", p.addr, short(time.Since(start)))
	}
	return other()
}

// brokenOff is the result of a call that the other side ended.
func (p *grpcProbe) brokenOff(err error) result {
	if p.tls != nil && refusedTLS(err) {
		code, said := tlsFailure(err, p.tls, false)
		return badTLS(p.addr, code, said)
	}
	return bad(core.L7Response, "%s broke off the call: %v", p.addr, err)
}

// notGRPC is the result of a call that failed where we can see what the other side's
// bytes begin with.
func (p *grpcProbe) notGRPC(begins string, err error) result {
	switch {
	case begins == "":
		return bad(core.L7Response, "%s does not speak gRPC: it hung up without a word", p.addr)
	case strings.HasPrefix(begins, "HTTP/1."):
		return bad(core.L7Response, "%s does not speak gRPC: it answers in HTTP/1.1", p.addr)
	case !speaksHTTP2(begins):
		return bad(core.L7Response, "%s does not speak gRPC: its answer begins with %q", p.addr, begins)
	}
	return p.brokenOff(err)
}

// isGRPC reports whether something that speaks gRPC answered, not a proxy in between.
func (a grpcAnswer) isGRPC() bool {
	return a.http == http.StatusOK && strings.HasPrefix(a.kind, "application/grpc")
}

// judge makes a result of a whole answer.
func (p *grpcProbe) judge(a grpcAnswer) result {
	switch {
	case a.http != http.StatusOK:
		return bad(core.L7Status, "%s answers with HTTP status %d %s where gRPC wants 200: a proxy, or another service", p.addr, a.http, http.StatusText(a.http))
	case !a.isGRPC():
		return bad(core.L7Response, "%s does not speak gRPC: its answer is of type %q", p.addr, clip(a.kind))
	case a.status == "":
		return bad(core.L7Response, "the answer of %s has no grpc-status: it was cut off", p.addr)
	case a.status == grpcDeadline: // our own, which the server heard of
		return bad(core.L7Timeout, "connected to %s, but the server could not answer the call in time (DEADLINE_EXCEEDED)", p.addr)
	case a.status != "0":
		return bad(core.L7Status, "%s", p.refusal(a))
	}
	status, err := parseGRPC(a.body)
	if err != nil {
		return bad(core.L7Response, "answer of %s: %v", p.addr, err)
	}
	if status != grpcServing {
		return bad(core.L7Status, "%s says that %s is %s", p.addr, p.what(), status)
	}
	return result{ok: true, code: core.L7OK, detail: p.what() + " is SERVING"}
}

// what the question is about.
func (p *grpcProbe) what() string {
	if p.spec.Service == "" {
		return "the server"
	}
	return "service " + strconv.Quote(clip(p.spec.Service))
}

// refusal is a sentence about a grpc-status other than OK.
func (p *grpcProbe) refusal(a grpcAnswer) string {
	name := "grpc-status " + clip(a.status)
	if n, err := strconv.Atoi(a.status); err == nil && n > 0 && n < len(grpcCodes) {
		name = grpcCodes[n]
	}
	switch name {
	case "UNIMPLEMENTED":
		return fmt.Sprintf("%s: UNIMPLEMENTED: it has no health service; register one (grpc.health.v1.Health)", p.addr)
	case "NOT_FOUND":
		return fmt.Sprintf("%s: NOT_FOUND: the server does not know %s", p.addr, p.what())
	case "UNAUTHENTICATED", "PERMISSION_DENIED":
		name += ": look at the probe's metadata"
	}
	if a.message != "" {
		name += ": it says " + strconv.Quote(a.message)
	}
	return fmt.Sprintf("%s: %s", p.addr, name)
}
