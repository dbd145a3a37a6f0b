// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PermissionsConfig is the part of a nats-server's configuration that says what a node
// or user with these roles may do: a block of the name PermissionsName, for use in
// users as "permissions: $NAME".
func PermissionsConfig(roles []Role, node, group string) (string, error) {
	if err := checkRoles(roles, node, group); err != nil {
		return "", err
	}
	publish, subscribe := PermissionsOf(roles, node, group)
	var b strings.Builder
	fmt.Fprintf(&b, "# What %s may do on NATS as %s", node, strings.Join(names(roles), ", "))
	if group != "" {
		fmt.Fprintf(&b, " of the group %s", group)
	}
	fmt.Fprintf(&b, ".\n# %s\n%s = {\n", PermissionsCommand(roles, node, group), PermissionsName(node))
	writeList(&b, "publish", publish)
	writeList(&b, "subscribe", subscribe)
	b.WriteString("}\n")
	return b.String(), nil
}

// PermissionsCommand is the command that prints PermissionsConfig.
func PermissionsCommand(roles []Role, node, group string) string {
	command := "steelyard bus permissions --role " + strings.Join(names(roles), ",") + " --node " + node
	if group != "" {
		command += " --group " + group
	}
	return command
}

func names(roles []Role) []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = string(r)
	}
	return out
}

func writeList(b *strings.Builder, key string, subjects []string) {
	// An empty list would mean everything to nats-server.
	if len(subjects) == 0 {
		fmt.Fprintf(b, "  %s: {deny: \">\"}\n", key)
		return
	}
	fmt.Fprintf(b, "  %s: {allow: [\n", key)
	for _, s := range subjects {
		fmt.Fprintf(b, "    %q\n", s)
	}
	b.WriteString("  ]}\n")
}

// PermissionsName is the name of the block of PermissionsConfig.
func PermissionsName(node string) string {
	return "MAY_" + strings.NewReplacer("-", "_", "=", "_").Replace(strings.ToUpper(Escape(node)))
}

func checkRoles(roles []Role, node, group string) error {
	if len(roles) == 0 {
		return fmt.Errorf("no role; give one or more of %s", roleList())
	}
	if node == "" {
		return errors.New("no name; give that of the node or user")
	}
	if group != "" {
		if err := CheckGroup(group); err != nil {
			return err
		}
	}
	for _, r := range roles {
		if is, ok := doers[string(r)]; ok {
			return fmt.Errorf("unknown role %q; a node with %s among its roles is a %s here", r, r, is)
		}
		if !slices.Contains(Roles, r) {
			return fmt.Errorf("unknown role %q; want %s", r, roleList())
		}
		if group == "" && (r == FollowerRole || r == PusherRole) {
			return fmt.Errorf("role %s needs a group, whose definitions they are", r)
		}
	}
	return nil
}

func roleList() string {
	names := make([]string, len(Roles))
	for i, r := range Roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

// PermissionsTable is the table of roles for the documentation, in Markdown: without
// steelyard.v1. in front, and with STEELYARD_<group> as the store.
func PermissionsTable() string {
	names := strings.NewReplacer("{v}.>", Prefix+".>", "{v}.", "", "{inbox}", "_INBOX_<node>.>", "{node}", "<node>", "{group}", "<group>", "{store}", DefinitionsBucket("<group>"))
	cell := func(subjects []string) string {
		if len(subjects) == 0 {
			return "–"
		}
		quoted := make([]string, len(subjects))
		for i, s := range subjects {
			quoted[i] = "`" + names.Replace(s) + "`"
		}
		return strings.Join(quoted, " ")
	}
	var b strings.Builder
	b.WriteString("| role | publishes | subscribes |\n|---|---|---|\n")
	row := func(name string, g grant) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, cell(g.publish), cell(g.subscribe))
	}
	row("every node", ofNodes)
	for _, g := range grants {
		row("`"+string(g.role)+"`", g)
	}
	return b.String()
}
