// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrNone means that nobody has pushed any yet, or not that revision.
	ErrNone = errors.New("there are none; push some")
	// ErrConflict means that somebody else has pushed since the revision on which a
	// push is based.
	ErrConflict = errors.New("somebody else pushed meanwhile")
	// ErrDamaged means that what the store has is not what was pushed, or not there.
	ErrDamaged = errors.New("it is damaged in the store, or gone; push it again")
)

// Codes of errors that nats.go has no names for.
const (
	codeNoPeers          jetstream.ErrorCode = 10005 // too few servers for so many replicas
	codeNoResources      jetstream.ErrorCode = 10023
	codeNoStorage        jetstream.ErrorCode = 10047
	codeReplicasAlone    jetstream.ErrorCode = 10074 // replicas, but the server is no cluster
	codeStoreFailed      jetstream.ErrorCode = 10077 // such as: maximum bytes exceeded
	codeNotAvailable     jetstream.ErrorCode = 10008 // no leader now
	codeClusterNotLeader jetstream.ErrorCode = 10009
)

// explain adds what can be done about an error of JetStream.
func explain(err error, connected bool) error {
	hint := func(text string) error { return fmt.Errorf("%w; %s", err, text) }
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return hint("give the user the permissions of the roles follower (to read) and pusher (to push)")
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound),
		errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return ErrNone
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return hint("enable JetStream on the NATS servers and for the account of the user, or keep the definitions in files")
	case errors.Is(err, jetstream.ErrObjectNotFound), errors.Is(err, jetstream.ErrBadObjectMeta):
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	case hasCode(err, codeNoResources, codeNoStorage):
		return hint(fmt.Sprintf("the store sets up to %d MB aside: give JetStream more room (max_file_store, and the limits of the account)", (DefaultBytes+bucketBytes)>>20))
	case errors.Is(err, nats.ErrMaxPayload):
		return hint(fmt.Sprintf("files are stored in pieces of %d KiB: raise max_payload of the servers, whose default of 1 MB is enough", chunkBytes>>10))
	case full(err):
		return hint("the store is full: give the servers more room for JetStream, or push smaller files")
	case hasCode(err, codeNotAvailable, codeClusterNotLeader), errors.Is(err, jetstream.ErrNoStreamResponse):
		return hint("JetStream has no leader; see that more than half of its servers run")
	case !connected, errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrReconnectBufExceeded):
		return hint("the connection to NATS is lost; see that its servers run")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return hint("JetStream did not answer in time: see that more than half of its servers run, and that their disks have room")
	}
	return err
}

func full(err error) bool {
	return hasCode(err, codeStoreFailed, codeNoResources, codeNoStorage)
}

func conflict(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) ||
		hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	for _, c := range codes {
		if api.ErrorCode == c {
			return true
		}
	}
	return false
}
