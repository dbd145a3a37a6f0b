// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

const pluginValidateLong = `Load a policy in a worker, as the daemon would, and ask it once. It takes
milliseconds; the exit code is 0 if the daemon would take it and 1 if not.
"steelyard plugin test" looks at much more.`

// A validation is what validate -o json prints.
type validation struct {
	OK          bool    `json:"ok"`
	Policy      string  `json:"policy"`
	Version     string  `json:"version"`
	SHA256      string  `json:"sha256"`
	LoadSeconds float64 `json:"load_seconds,omitempty"`
	Problem     string  `json:"problem,omitempty"`
}

func newPluginValidateCommand(g *globals) *cobra.Command {
	var policy string
	cmd := &cobra.Command{
		Use: "validate FILE", Short: "Would the daemon take it? The contract only, in milliseconds",
		Long:              pluginValidateLong,
		Example:           "  steelyard plugin validate idle.wasm && cp idle.wasm /etc/steelyard/",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeCandidates(1),
		RunE: func(cmd *cobra.Command, a []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			c, err := findCandidate(a[0], policy)
			if err != nil {
				return err
			}
			v, err := validate(cmd.Context(), c)
			if err != nil {
				return err
			}
			if format == "json" {
				err = writeJSON(g.stdout, v)
			} else {
				renderValidation(g.stdout, c.label(), v, painter(g.color(g.stdout)))
			}
			if err == nil && !v.OK {
				return &codedError{code: exitFailure} // it has been said
			}
			return err
		},
	}
	addPolicyFlag(cmd, &policy)
	return cmd
}

func addPolicyFlag(cmd *cobra.Command, policy *string) {
	cmd.Flags().StringVar(policy, "policy", "", "which policy of a module that holds several")
}

func validate(ctx context.Context, c candidate) (validation, error) {
	v := validation{Policy: c.Name, Version: c.Version, SHA256: c.SHA256}
	t, err := c.Open(ctx)
	if err != nil {
		v.Problem = err.Error()
		return v, ctx.Err()
	}
	defer t.Close()
	v.LoadSeconds = t.Loading.Seconds()
	if t.Info.Name != "" {
		v.Policy = t.Info.Name
	}
	s := suite.Snapshot("validate", 2, t.Info.Metrics...)
	if _, err := t.Schedule(ctx, &s); err != nil {
		v.Problem = err.Error()
		return v, ctx.Err()
	}
	v.OK = true
	return v, nil
}

func renderValidation(out io.Writer, label string, v validation, p painter) {
	if !v.OK {
		fmt.Fprintf(out, "%s %s: %s\n", p.paint(red, "refused"), clean(label), clean(v.Problem))
		return
	}
	fmt.Fprintf(out, "%s %s: policy %s, loaded in %s\n", p.paint(green, "good"), clean(label), clean(v.Policy), seconds(v.LoadSeconds))
	fmt.Fprintf(out, "  policies: {%s: {path: %s, sha256: %s}}\n", clean(v.Policy), clean(label), v.SHA256)
}
