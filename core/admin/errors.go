// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
)

// The two errors by which a command chooses its exit code.
var (
	// ErrUnreachable means that no steelyard answers on the socket.
	ErrUnreachable = errors.New("steelyard is not running")
	// ErrPermission means that the caller may not use the socket.
	ErrPermission = errors.New("permission denied")
)

// An Error is an error as it crosses the socket. A Node may return one to choose
// its code and status.
type Error struct {
	Status  int    `json:"-"`       // HTTP; 0 on the client if there was no answer
	Code    string `json:"code"`    // for programs: unknown_service, reload_failed, …
	Message string `json:"message"` // for people: what and why
	Hint    string `json:"hint,omitempty"`

	cause error
}

// Error implements error. The hint is part of it, so that it reaches whoever
// prints the error.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; hint: " + e.Hint
}

// Unwrap returns the cause: ErrUnreachable or ErrPermission on the client.
func (e *Error) Unwrap() error { return e.cause }

// The codes.
const (
	CodeBadRequest       = "bad_request"
	CodeNotFound         = "not_found"
	CodeMethodNotAllowed = "method_not_allowed"
	CodeUnknownService   = "unknown_service"
	CodeUnknownBackend   = "unknown_backend"
	CodeCutFailed        = "cut_failed"
	CodeTraceFailed      = "trace_failed" // no sample came in time, or none can
	CodeRefused          = "refused"      // a command that cannot be done, and changed nothing
	CodeReloadFailed     = "reload_failed"
	CodeInvalid          = "invalid_configuration" // a reload refused for what its files say
	CodeStopFailed       = "stop_failed"
	CodeBusy             = "busy"
	CodeTimeout          = "timeout"
	CodeUnreachable      = "unreachable"
	CodePermission       = "permission"
	CodeInternal         = "internal"
)

// An invalid is an error of Reload that tells whether the configuration files
// are to blame.
type invalid interface{ ConfigInvalid() bool }

// A notUndone is an error of Reload that tells whether the configuration before
// could not be brought back whole.
type notUndone interface{ NotUndone() bool }

// reloadHint is what a refused reload has left in force.
func reloadHint(err error) string {
	var n notUndone
	if errors.As(err, &n) && n.NotUndone() {
		return "`steelyard status` shows what is in force"
	}
	return "the configuration before stays in force"
}

// reloadCode is the code of a refused reload.
func reloadCode(err error) string {
	var i invalid
	if errors.As(err, &i) && i.ConfigInvalid() {
		return CodeInvalid
	}
	return CodeReloadFailed
}

// asError makes an Error of what a Node returned; status and code are used
// unless the error says more.
func asError(err error, status int, code string) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		out := *e
		if out.Status == 0 {
			out.Status = status
		}
		return &out
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeTimeout, Message: err.Error(), cause: err,
			Hint: "the daemon is busy or about to stop; try again"}
	default:
		return &Error{Status: status, Code: code, Message: err.Error(), cause: err}
	}
}
