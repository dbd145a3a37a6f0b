// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/config"
)

// The exit codes. They are documented in the help of the root command and do
// not change.
const (
	exitOK          = 0
	exitFailure     = 1
	exitChanges     = 2 // of plan and push --dry-run: something would change
	exitConfig      = 3 // the configuration is invalid
	exitUnreachable = 4 // no daemon answers
	exitPermission  = 5
	exitDeadline    = 6 // a drain's deadline passed with connections still open
	exitNotYet      = 7 // a command was taken and is not in force yet
	exitUsage       = 64
)

// exitHelp is the part of the root command's help about the exit codes.
const exitHelp = `Exit codes: 0 success, 1 failure, 2 something would change (plan, push --dry-run), 3
configuration invalid, 4 daemon unreachable, 5 permission denied, 6 connections still open at a
drain's deadline, 7 a command was taken and is not in force yet, 64 wrong usage.`

// A codedError is an error with its exit code and, for the operator, a hint.
// With no err, the user has been told already.
type codedError struct {
	code int
	err  error
	hint string
}

func (e *codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}
func (e *codedError) Unwrap() error { return e.err }

// usage marks an error as the caller's.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code: exitUsage, err: err}
}

// args makes the complaints of a cobra validator errors of usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return &codedError{code: exitUsage, err: err, hint: "usage: " + cmd.UseLine()}
		}
		return nil
	}
}

// asked gives an error of a call to the daemon its exit code.
func asked(err error) error {
	var e *admin.Error
	if !errors.As(err, &e) {
		return err
	}
	coded := &codedError{exitFailure, message{e.Message, err}, e.Hint}
	switch {
	case errors.Is(err, admin.ErrUnreachable), e.Code == admin.CodeTimeout:
		coded.code = exitUnreachable
	case errors.Is(err, admin.ErrPermission):
		coded.code = exitPermission
	case e.Code == admin.CodeInvalid:
		coded.code = exitConfig
	case e.Code == admin.CodeBadRequest:
		coded.code = exitUsage
	}
	return coded
}

// A message is an error with a text of its own.
type message struct {
	text string
	error
}

func (m message) Error() string { return m.text }
func (m message) Unwrap() error { return m.error }

// exitCode is the code for an error of any command.
func exitCode(err error) int {
	var coded *codedError
	var problems config.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &problems):
		return exitConfig
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	}
	return exitFailure
}

// fail tells the user about err and returns the exit code: on stderr for
// people; with -o json on stdout, for programs that read that.
func (g *globals) fail(err error) int {
	code := exitCode(err)
	var coded *codedError
	errors.As(err, &coded)
	if code == exitOK || coded != nil && coded.err == nil {
		return code // nothing to say, or said already
	}
	var problems config.Errors
	isConfig := errors.As(err, &problems)
	hint := ""
	if coded != nil {
		hint = coded.hint
	}
	switch {
	case g.Output == "json":
		_ = writeJSON(g.stdout, failure{failureBody{Code: code, Message: clean(err.Error()), Hint: hint, Problems: problems}})
	case isConfig:
		problems.Render(g.stderr, g.color(g.stderr))
	default:
		p := painter(g.color(g.stderr))
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(g.stderr, "%s %s\n", p.paint(red, "steelyard:"), clean(strings.TrimSuffix(line, "\n")))
		}
		if hint != "" {
			fmt.Fprintf(g.stderr, "  = %s\n", p.paint(green, hint))
		}
	}
	return code
}

// A failure is what -o json prints in place of an answer.
type failure struct {
	Error failureBody `json:"error"`
}

type failureBody struct {
	Code     int           `json:"exit_code"`
	Message  string        `json:"message"`
	Hint     string        `json:"hint,omitempty"`
	Problems config.Errors `json:"problems,omitempty"`
}
