package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/docker"
	"berth/internal/pki"
	"berth/internal/session"
	"berth/internal/waittest"
)

// apiEngine answers the Docker runtime's requests; some answers take a while, so that requests are always in flight.
func apiEngine(t *testing.T) *fakeEngine {
	var n atomic.Int64
	return startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		switch route := routeOf(r.URL.Path); route {
		case "/_ping":
			fmt.Fprint(w, "OK")
		case "/info":
			fmt.Fprint(w, `{"OSType":"linux","NCPU":4,"ServerVersion":"20.10.24"}`)
		case "/containers/json":
			if n.Add(1)%5 == 0 {
				select {
				case <-time.After(300 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
			fmt.Fprint(w, "[]")
		case routeEvents:
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			http.NotFound(w, r)
		}
	}))
}

// TestRotationUnderLoadLosesNoRequest rotates the authority while a runtime continuously sends requests through the guard and
// watches events. The old authority is retired as the command does it: when no client presents it any more.
func TestRotationUnderLoadLosesNoRequest(t *testing.T) {
	t.Parallel()
	w := startGuard(t, apiEngine(t).socket)
	client, _, err := pki.OpenClient(pki.ClientPaths(w.dir, pki.Paths{}), pki.ClientOptions{ServerName: "127.0.0.1", Reloaded: func(err error) {
		if err != nil {
			t.Errorf("changed certificates were not taken: %v", err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := docker.Open(t.Context(), docker.Options{Host: "tcp://" + w.address, TLS: client.TLS(), Instance: "i", PublishIP: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		load.Wait()
		runtime.CloseIdle()
	})
	load.Go(func() { client.Watch(ctx, runtime.Renew) })

	var done, streams atomic.Int64
	for range 8 {
		load.Go(func() {
			for ctx.Err() == nil {
				if _, err := runtime.List(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("request %d was lost: %v", done.Load(), err)
					return
				}
				done.Add(1)
			}
		})
	}
	load.Go(func() {
		for ctx.Err() == nil {
			err := runtime.Watch(ctx, func() { streams.Add(1) }, func(session.RuntimeEvent) {})
			if ctx.Err() == nil && !strings.Contains(fmt.Sprint(err), "is renewed") {
				t.Errorf("the event stream ended with %v, want it ended by the change alone", err)
			}
		}
	})
	more := func(when string) {
		t.Helper()
		before := done.Load()
		waittest.True(t, "requests "+when, func() bool { return done.Load() > before+100 || t.Failed() })
	}
	more("before")
	for _, want := range []pki.Stage{pki.StageTrusted, pki.StageReissued} {
		at, err := pki.Rotate(w.dir, pki.RotateOptions{})
		if err != nil || at.Stage != want {
			t.Fatalf("got stage %q, %v; want %q", at.Stage, err, want)
		}
		more("after " + string(want))
	}
	waittest.True(t, "the old authority is retired", func() bool {
		at, err := pki.Rotate(w.dir, pki.RotateOptions{InUse: func(old, _ pki.Description) []string { return w.presenting(t, old.KeyID) }})
		return err == nil && at.Stage == pki.StageNone
	})
	more("after the end")
	// All certificates, and the list of clients, are of the new authority now.
	if got := streams.Load(); got < 2 {
		t.Errorf("the event stream was opened %d times, want it opened again after the change", got)
	}
	w.log.none(t, "client connection cut")
}

// presenting lists the clients that present a certificate of an authority.
func (w *fixture) presenting(t *testing.T, authority string) []string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: w.tls(t), DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: timeout}).Get(w.url(ClientsPath))
	if err != nil {
		t.Fatal(err)
	}
	var answer Clients
	if err := json.Unmarshal([]byte(body(t, response)), &answer); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, c := range answer.Clients {
		if c.AuthorityKeyID == authority {
			found = append(found, c.Subject)
		}
	}
	return found
}
