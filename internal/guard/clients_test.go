package guard

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/pki"

	"berth/internal/waittest"
)

// issue makes one more client and returns the directory of its files.
func (w *fixture) issue(t *testing.T, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	if _, err := pki.Issue(w.dir, pki.IssueOptions{Kind: pki.KindClient, Name: name, Out: out}); err != nil {
		t.Fatal(err)
	}
	return out
}

// distribute copies the authorities, as an operator does between the steps of a rotation.
func distribute(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(from, pki.CACertFile))
	if err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(to, "fresh")
	if err := os.WriteFile(fresh, data, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, filepath.Join(to, pki.CACertFile)); err != nil {
		t.Fatal(err)
	}
}

// busyEngine attaches, streams events until the client disconnects, and answers the rest; it reports the end of a stream.
func busyEngine(t *testing.T) (engine *fakeEngine, left chan string) {
	t.Helper()
	left = make(chan string, 4)
	attached := attach(t, func(_ *net.UnixConn, reader *bufio.Reader) {
		_, _ = io.Copy(io.Discard, reader)
		left <- "attach"
	})
	return startEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch routeOf(r.URL.Path) {
		case routeAttach:
			attached.ServeHTTP(w, r)
		case routeEvents:
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			left <- "events"
		default:
			fmt.Fprint(w, "OK")
		}
	})), left
}

// Connections of a client that is no longer admitted end within a second: idle, streaming and taken-over ones. Others stay.
func TestConnectionsEndWhenClientIsNoLongerAdmitted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		reason string
		end    func(t *testing.T, w *fixture, alice string)
	}{
		{"revoked", "revoked", func(t *testing.T, w *fixture, alice string) {
			if _, err := pki.Revoke(w.dir, filepath.Join(alice, pki.ClientCertFile), pki.RevokeOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		{"authority retired", "not signed by the authority", func(t *testing.T, w *fixture, _ string) {
			if _, err := pki.Rotate(w.dir, pki.RotateOptions{Finish: true}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			engine, left := busyEngine(t)
			w := startGuard(t, engine.socket)
			alice := w.issue(t, "alice")
			retires := tt.name == "authority retired"
			if retires {
				for range 2 {
					if _, err := pki.Rotate(w.dir, pki.RotateOptions{}); err != nil {
						t.Fatal(err)
					}
					distribute(t, w.dir, alice)
				}
			}
			_, hijacked := w.dialAs(t, alice, upgradeHead)
			readHead(t, hijacked)
			_, streaming := w.dialAs(t, alice, "GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
			readHead(t, streaming)
			_, idle := w.dialAs(t, alice, "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
			readHead(t, idle)
			_, other := w.dial(t, "GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
			readHead(t, other)

			begun := time.Now()
			tt.end(t, w, alice)
			for name, reader := range map[string]*bufio.Reader{"taken-over": hijacked, "streaming": streaming, "idle": idle} {
				// Any error is correct, but the answer must not look complete.
				if rest, _ := io.ReadAll(reader); strings.HasSuffix(string(rest), "0\r\n\r\n") {
					t.Errorf("the %s connection ended like a complete answer: %q", name, rest)
				}
				if took := time.Since(begun); took > time.Second {
					t.Errorf("the %s connection was cut after %s, want within a second", name, took)
				}
			}
			for range 2 {
				select {
				case <-left:
				case <-time.After(timeout):
					t.Fatal("the engine still works for the client that was cut")
				}
			}
			w.log.wait(t, "client connection cut", func(e map[string]any) bool {
				return e["client"] == "alice" && e["level"] == "WARN" && strings.Contains(fmt.Sprint(e["reason"]), tt.reason)
			})
			if response, err := clientOf(t, alice).Get(w.url("/_ping")); err == nil {
				response.Body.Close()
				t.Error("the client is admitted again")
			}
			if retires {
				return
			}
			response, err := w.client(t).Get(w.url("/_ping"))
			if err != nil {
				t.Fatalf("another client: %v", err)
			}
			_ = body(t, response)
			if len(left) != 0 {
				t.Errorf("the stream of another client was ended: %s", <-left)
			}
		})
	}
}

func TestHijackedConnectionEndsAtCertificateExpiry(t *testing.T) {
	t.Parallel()
	engine, left := busyEngine(t)
	var ahead atomic.Int64
	w := startGuard(t, engine.socket, func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	_, reader := w.dial(t, upgradeHead)
	readHead(t, reader)
	ahead.Store(int64(100 * 24 * time.Hour))
	if _, err := reader.ReadByte(); err == nil {
		t.Error("the connection stays open, want an end")
	}
	if got := <-left; got != "attach" {
		t.Errorf("the engine was left on %s", got)
	}
}

func TestGuardListsConnectedClients(t *testing.T) {
	t.Parallel()
	engine, _ := busyEngine(t)
	w := startGuard(t, engine.socket)
	alice := w.issue(t, "alice")
	var closers []io.Closer
	for dir, n := range map[string]int{alice: 2, w.dir: 1} {
		for range n {
			conn, reader := w.dialAs(t, dir, upgradeHead)
			readHead(t, reader)
			closers = append(closers, conn)
		}
	}
	client := w.client(t)
	ask := func() map[string]int {
		response, err := client.Get(w.url(ClientsPath))
		if err != nil {
			t.Fatal(err)
		}
		var answer Clients
		if err := json.Unmarshal([]byte(body(t, response)), &answer); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, c := range answer.Clients {
			if len(c.FingerprintSHA256) != 64 || c.Serial == "" || c.AuthorityKeyID == "" {
				t.Errorf("incomplete: %+v", c)
			}
			got[c.Subject] = c.Connections
		}
		return got
	}
	// The request itself uses one more connection of tester.
	if got := ask(); got["CN=alice,O=Berth"] != 2 || got["CN=tester,O=Berth"] != 1 || len(got) != 2 {
		t.Errorf("got %v, want alice with 2 connections and tester with 1", got)
	}
	for _, c := range closers {
		c.Close()
	}
	waittest.True(t, "connections that were closed are forgotten", func() bool {
		return len(ask()) == 0
	})
	response, err := client.Post(w.url(ClientsPath), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, response); got != "OK" {
		t.Errorf("a POST there got %q, want it passed on like everything else", got)
	}
}
