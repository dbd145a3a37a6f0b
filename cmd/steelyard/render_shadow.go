// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/steelyard-lb/steelyard/core"
)

// shadowFields print what the shadow policy of a service would do.
func shadowFields(w io.Writer, p painter, s *core.ShadowDecision) {
	if s == nil {
		return
	}
	name := s.Policy
	if s.PolicyVersion != "" {
		name += " (" + s.PolicyVersion + ")"
	}
	if s.SnapshotSeq == 0 {
		field(w, p, "shadow", name+" has not answered yet", "")
	} else {
		field(w, p, "shadow", fmt.Sprintf("%s, took %s, moves %s of new connections", name, seconds(s.PolicySeconds), ratio(s.Moved)), "")
	}
	if s.PolicyError != "" {
		field(w, p, "", "! "+s.PolicyError+"; the service is not concerned", yellow)
	}
}

// shadowShare is what the shadow would have given a backend.
func shadowShare(b core.BackendDecision) string {
	if b.Shadow == nil {
		return unknown
	}
	return ratio(b.Shadow.Share)
}

// shadowOne says for one backend what the shadow would give it.
func shadowOne(w io.Writer, p painter, d core.Decision, b core.BackendDecision) {
	shadowFields(w, p, d.Shadow)
	if b.Shadow == nil {
		return
	}
	said := "held its opinion back"
	if b.Shadow.Policy != nil {
		said = "said " + ratio(*b.Shadow.Policy)
	}
	field(w, p, "", fmt.Sprintf("would give %s (now %s); %s", ratio(b.Shadow.Share), ratio(b.Share), said), "")
}

// policyText names the policy of a service and its shadow.
func policyText(s core.ServiceView) string {
	if s.Shadow == nil {
		return s.Policy
	}
	text := s.Policy + ", shadow " + s.Shadow.Policy
	switch {
	case s.Shadow.PolicyError != "":
		return text + " fails"
	case s.Shadow.SnapshotSeq == 0:
		return text
	}
	return text + " moves " + ratio(s.Shadow.Moved)
}
