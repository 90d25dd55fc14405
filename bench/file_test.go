package bench_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"berth/internal/session"
	"berth/internal/storage/jsonfile"
)

// BenchmarkFile measures the JSON file store with different numbers of sessions: one change of one session (a rotation), and one
// second of activity of one session and of a hundred, until they are on the disk.
//
//	go test -run '^$' -bench File -benchtime 50x ./bench
func BenchmarkFile(b *testing.B) {
	for _, count := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("rotate/%d", count), func(b *testing.B) {
			store, all := fileOf(b, count)
			b.ResetTimer()
			for i := range b.N {
				s := &all[i%count]
				s.Token.Digest = fmt.Sprintf("%064d", i)
				var err error
				*s, err = store.Update(b.Context(), *s, session.Unlimited)
				must(b, err)
			}
		})
		for _, active := range []int{1, 100} {
			b.Run(fmt.Sprintf("activity of %d/%d", active, count), func(b *testing.B) {
				store, all := fileOf(b, count)
				b.ResetTimer()
				for i := range b.N {
					at := map[session.ID]time.Time{}
					for k := range active {
						at[all[(i+k)%count].ID] = time.Now().Add(time.Duration(i) * time.Second)
					}
					must(b, store.Touch(b.Context(), at))
					store.Flush()
				}
			})
		}
	}
}

func fileOf(b *testing.B, count int) (*jsonfile.Store, []session.Session) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "sessions.json")
	all := make([]session.Session, count)
	for i := range all {
		all[i] = record(session.NewID())
		all[i].Revision, all[i].Status, all[i].Operation, all[i].Token.Digest = 1, session.Running, nil, fmt.Sprintf("%064d", i)
		for range 10 {
			all[i].Timeline = append(all[i].Timeline, session.Event{At: time.Now().UTC(), Type: session.EventReady, By: "user"})
		}
	}
	store, err := jsonfile.Open(path, jsonfile.Options{})
	must(b, err)
	b.Cleanup(func() { _ = store.Close() })
	must(b, store.Replace(b.Context(), all))
	return store, all
}
