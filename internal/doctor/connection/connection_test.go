package connection

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRunReportsGoodEngineInFull(t *testing.T) {
	t.Parallel()
	f, o := setup(t, "")
	e := &engine{}
	o.Host, o.Deep = f.start(t, e), true
	r := check(t, o)
	if got := faults(r); len(got) != 0 || r.Status != Pass {
		t.Fatalf("a good engine: got status %s, faults %q; want none", r.Status, got)
	}
	if _, failed := r.FirstFailure(); failed {
		t.Error("FirstFailure of a good report: got one")
	}
	for _, name := range []string{stepCreate, stepRemove, stepNoCertificate, stepForeign, stepServerFile} {
		if s := stepOf(t, r, name); s.Status != Pass {
			t.Errorf("%s: got %s %s (%s), want pass", name, s.Status, s.Code, s.Detail)
		}
	}
	if e.left() != 0 {
		t.Errorf("the temporary container was not removed")
	}
	got := []any{r.TLSVersion, r.Cipher != "", r.APIVersion, r.Engine, r.Server.DaysLeft, r.Server.Names, r.Authority.Subject, r.Client.Subject}
	want := []any{"TLS 1.3", true, "1.41", "Docker/test (linux)", 89, []string{"localhost", "127.0.0.1"}, "CN=ours", "CN=test"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the report says (-want +got):\n%s", diff)
	}
	if l := r.Latency; l.ConnectMS <= 0 || l.HandshakeMS <= 0 || l.PingMS <= 0 {
		t.Errorf("latencies: got %+v, want all measured", l)
	}
	if s := stepOf(t, r, stepServerPin); s.Status != Skipped || s.Code != notAskedFor {
		t.Errorf("pins that are not set: got %s %s, want skipped", s.Status, s.Code)
	}
}

func TestResolveFailureCodes(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"! resolve name-unknown":    &net.DNSError{Err: "no such host", Name: "engine.example", IsNotFound: true},
		"! resolve resolver-failed": &net.DNSError{Err: "server misbehaving", Name: "engine.example", IsTemporary: true},
	} {
		_, o := setup(t, "tcp://engine.example")
		o.LookupHost = func(context.Context, string) ([]string, error) { return nil, err }
		r := check(t, o)
		if diff := cmp.Diff([]string{want}, faults(r)); diff != "" {
			t.Errorf("%v: warnings and failures (-want +got):\n%s", err, diff)
		}
		if s := stepOf(t, r, stepResolve); !strings.Contains(s.Detail+s.Remedy, "engine.example") && want != "! resolve resolver-failed" {
			t.Errorf("%v: neither %q nor %q names the host", err, s.Detail, s.Remedy)
		}
	}
}

func TestConnectTriesNextAddress(t *testing.T) {
	t.Parallel()
	f, o := setup(t, "")
	host := f.start(t, &engine{})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(host, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	o.Host = "tcp://localhost:" + port
	o.LookupHost = func(context.Context, string) ([]string, error) { return []string{"127.0.0.99", "127.0.0.1"}, nil }
	r := check(t, o)
	if r.Status != Pass || r.Address != "127.0.0.1:"+port {
		t.Errorf("got %s by %q, faults %q; want pass by the second address", r.Status, r.Address, faults(r))
	}
}

func TestConnectionFaultCodes(t *testing.T) {
	t.Parallel()
	for want, err := range map[Code]error{
		ConnectionRefused: syscall.ECONNREFUSED,
		NoRoute:           syscall.EHOSTUNREACH,
		ConnectionTimeout: os.ErrDeadlineExceeded,
		ConnectionFailed:  syscall.EACCES,
	} {
		if got := connectionFault(&net.OpError{Op: "dial", Err: err}); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
	if got := connectionFault(fmt.Errorf("dial: %w", syscall.ENETUNREACH)); got != NoRoute {
		t.Errorf("network unreachable: got %s, want %s", got, NoRoute)
	}
}

func TestCreateOnlyWhenAskedForAndPossible(t *testing.T) {
	t.Parallel()
	f, o := setup(t, "")
	o.Host = f.start(t, &engine{images: "[]"})
	if s := stepOf(t, check(t, o), stepCreate); s.Status != Skipped || s.Code != notAskedFor {
		t.Errorf("without Deep: got %s %s", s.Status, s.Code)
	}
	o.Deep = true
	if s := stepOf(t, check(t, o), stepCreate); s.Status != Skipped || s.Code != "no-image" {
		t.Errorf("on an engine without images: got %s %s", s.Status, s.Code)
	}
	o.Image = "busybox"
	if s := stepOf(t, check(t, o), stepCreate); s.Status != Pass || !strings.Contains(s.Detail, "busybox") {
		t.Errorf("with an image of one's own: got %s %s %s", s.Status, s.Code, s.Detail)
	}
}

func TestServerPinAcceptsEveryForm(t *testing.T) {
	t.Parallel()
	f, o := setup(t, "")
	o.Host = f.start(t, &engine{})
	first := check(t, o)
	shown, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(first.Server.Pin, "sha256//"))
	if err != nil {
		t.Fatalf("the report's own pin %q: %v", first.Server.Pin, err)
	}
	digits := hex.EncodeToString(shown)
	for _, form := range []string{
		first.Server.Pin, digits, strings.ToUpper(digits), "sha256:" + digits, "sha256/" + base64.StdEncoding.EncodeToString(shown),
		base64.StdEncoding.EncodeToString(shown), first.Authority.Pin,
	} {
		o.Pins = strings.Repeat("00", 32) + ", " + form
		if s := stepOf(t, check(t, o), stepServerPin); s.Status != Pass {
			t.Errorf("pin %q: got %s %s, want pass", form, s.Status, s.Detail)
		}
	}
}

func TestRunRejectsUnusableHost(t *testing.T) {
	t.Parallel()
	for host, socket := range map[string]bool{
		"unix:///var/run/docker.sock": true, "": false, "127.0.0.1:2376": false, "tcp://": false, "tcp://a/b": false,
		"tcp://u:p@a": false, "ftp://a": false, "tcp://%zz": false,
	} {
		_, err := Run(t.Context(), Options{Host: host})
		if err == nil || errors.Is(err, ErrNoTLS) != socket {
			t.Errorf("host %q: got %v, want an error, ErrNoTLS: %t", host, err, socket)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("host %q: the error %v shows a password", host, err)
		}
	}
	if _, port, err := endpoint("tcp://engine"); err != nil || port != "2376" {
		t.Errorf("a host without a port: got port %q, %v; want 2376", port, err)
	}
	if _, err := Run(t.Context(), Options{Host: "tcp://a", Timeout: -1}); err == nil {
		t.Error("a negative time-out was accepted")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, o := setup(t, listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	o.LookupHost = func(context.Context, string) ([]string, error) { return nil, nil }
	timer := time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	defer timer.Stop()
	if _, err := Run(ctx, o); !errors.Is(err, reason) {
		t.Errorf("got %v, want the reason of the end", err)
	}
}

func TestContainerRemovedWhenContextEnds(t *testing.T) {
	t.Parallel()
	f, o := setup(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	e := &engine{}
	e.handler = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(rw, r)
			if strings.Contains(r.URL.Path, "/create") {
				cancel()
			}
		})
	}
	o.Host, o.Deep = f.start(t, e), true
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if e.left() != 0 {
		t.Error("the container was left behind")
	}
}
