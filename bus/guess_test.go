// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"log/slog"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/steelyard-lb/steelyard/core"
)

// TestGuesses: whoever guesses passwords takes one processor at most, and keeps nobody
// out who was in before.
func TestGuesses(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	door, err := newDoorman(Options{Users: []User{{Name: "zabbix", Password: core.Secret(hash)}}, Log: slog.New(slog.DiscardHandler)}, "x")
	if err != nil {
		t.Fatal(err)
	}
	g := door.byName["zabbix"]
	if door.passwordFits(g, "guess") || !door.passwordFits(g, "secret") {
		t.Fatal("the hash is not what counts")
	}
	door.hashing <- struct{}{} // somebody's guess is compared
	guessed := make(chan bool, 1)
	go func() { guessed <- door.passwordFits(g, "guess") }()
	if !door.passwordFits(g, "secret") {
		t.Error("who was in before is kept out")
	}
	select {
	case <-guessed:
		t.Error("two guesses are compared at once")
	case <-time.After(50 * time.Millisecond):
	}
	<-door.hashing
	if <-guessed {
		t.Error("a guess is taken for the password")
	}
}
