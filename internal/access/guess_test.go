package access_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"berth/internal/access"
	"berth/internal/session"
	"berth/internal/storetest"
)

// noSessions has no sessions, and counts nothing.
type noSessions struct{}

func (noSessions) TokenOf(context.Context, session.ID) session.Token { return session.Token{} }

func (noSessions) OwnerOf(_ context.Context, id session.ID) (string, error) {
	return "", session.NotFound(id)
}

// A million guesses of tokens, each from another address and for another session, find nothing and leave nothing behind.
func TestMillionGuessesFindNothingInBoundedMemory(t *testing.T) {
	t.Parallel()
	r := registry(t, &storetest.MemoryTokens{}, nil)
	_, genuine := issue(t, r, access.TokenRequest{Name: "ci", Scopes: access.ScopeRead})
	a := authority(t, access.Options{
		Tokens: r, Throttle: access.NewThrottle(), People: people{},
		Trail: access.NewTrail(slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler)),
	})
	const guesses, guessers = 1_000_000 / fewer, 4
	guess := func(from, to int) error {
		for i := from; i < to; i++ {
			var address [4]byte
			binary.BigEndian.PutUint32(address[:], uint32(i))
			site := netip.AddrFrom4(address)
			ctx := access.WithClient(t.Context(), &access.Client{Site: site})
			ask := access.Ask{
				Surface: access.API, Verb: access.Read, Session: session.ID(fmt.Sprint("ses-", i)),
				Secret: session.Secret(fmt.Sprintf("berth_pat_%040d", i)),
			}
			if i%16 == 0 { // some come close
				ask.Secret = genuine[:len(genuine)-1] + session.Secret(rune('!'+i%15))
			}
			p, err := a.Admit(ctx, ask, noSessions{})
			if code := session.CodeOf(err); p.Kind != access.Anonymous || code != session.CodeUnauthorized && code != session.CodeTooManyAttempts {
				return fmt.Errorf("guess %d: got %+v, %w", i, p, err)
			}
		}
		return nil
	}
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	var all sync.WaitGroup
	faults := make([]error, guessers)
	for n := range guessers {
		all.Go(func() { faults[n] = guess(n*guesses/guessers, (n+1)*guesses/guessers) })
	}
	all.Wait()
	if err := errors.Join(faults...); err != nil {
		t.Error(err)
	}
	const most = 16 << 20 // other tests run beside this one
	if after := held(); after > before+most {
		t.Errorf("the guesses hold %d MiB, want a few", (after-before)>>20)
	}
	if _, err := a.Admit(t.Context(), list(genuine), noSessions{}); err != nil {
		t.Errorf("the token itself: %v", err)
	}
}
