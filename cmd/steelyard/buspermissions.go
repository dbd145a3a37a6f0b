// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/bus"
)

func newBusCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bus",
		Short: "Print what nodes and monitors may do on a NATS",
		Args:  args(cobra.NoArgs),
	}
	cmd.AddCommand(newBusPermissionsCommand(g))
	return cmd
}

const busPermissionsLong = `Print the part of the configuration of a nats-server that says what a node or user
may do there, and nothing more. Include it, and give it to the user:

  authorization { users: [ {user: lb1, password: "…", permissions: $MAY_LB1} ] }

What a node does by "roles" in its configuration makes it, here: probe a prober,
schedule a scheduler, apply a balancer; without "roles" it is all three. Besides, it is
an ingest if it takes metrics over HTTP or by "steelyard metric push", and a follower
with "cluster.definitions: bus".
Who is no node: monitor, which feeds metrics under its own name; viewer, which reads;
pusher, for "steelyard push". The name of a node must be that of its user.`

const busPermissionsExample = `  steelyard bus permissions --role prober,scheduler,balancer --node lb1 --group edge
  steelyard bus permissions --role monitor --node zabbix`

func newBusPermissionsCommand(g *globals) *cobra.Command {
	var names []string
	var node, group string
	cmd := &cobra.Command{
		Use:               "permissions --role ROLE --node NAME",
		Short:             "Print the permissions of a node or user for a nats-server",
		Long:              busPermissionsLong,
		Example:           busPermissionsExample,
		Args:              args(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return g.busPermissions(names, node, group) },
	}
	known := make([]string, len(bus.Roles))
	for i, r := range bus.Roles {
		known[i] = string(r)
	}
	cmd.Flags().StringSliceVar(&names, "role", nil, "one or more of "+strings.Join(known, ", "))
	cmd.Flags().StringVar(&node, "node", "", "name of the node or user")
	cmd.Flags().StringVar(&group, "group", "", "cluster.group of the node")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(known, cobra.ShellCompDirectiveNoFileComp)) // it is there: made above
	return cmd
}

// A permissionsView is what bus permissions -o json prints.
type permissionsView struct {
	Node      string   `json:"node"`
	Roles     []string `json:"roles"`
	Group     string   `json:"group,omitempty"`
	Publish   []string `json:"publish"`
	Subscribe []string `json:"subscribe"`
}

func (g *globals) busPermissions(names []string, node, group string) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	roles := make([]bus.Role, len(names))
	for i, n := range names {
		roles[i] = bus.Role(n)
	}
	text, err := bus.PermissionsConfig(roles, node, group)
	if err != nil {
		return &codedError{exitUsage, err, "such as --role prober,scheduler,balancer --node lb1 --group edge"}
	}
	if format == "json" {
		publish, subscribe := bus.PermissionsOf(roles, node, group)
		return writeJSON(g.stdout, permissionsView{node, names, group, slices.Concat([]string{}, publish), slices.Concat([]string{}, subscribe)})
	}
	_, err = fmt.Fprint(g.stdout, text)
	return err
}
