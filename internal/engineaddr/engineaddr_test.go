package engineaddr

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Addr{
		"tcp://host:2376":                {Network: TCP, Host: "host", Port: "2376"},
		"tcp://host":                     {Network: TCP, Host: "host"},
		"tcp://host:2376/":               {Network: TCP, Host: "host", Port: "2376"},
		"tcp://[::1]:0":                  {Network: TCP, Host: "::1", Port: "0"},
		"unix:///var/run/docker.sock":    {Network: Unix, Path: "/var/run/docker.sock"},
		"":                               {},
		"host:2376":                      {},
		"tcp:host":                       {},
		"tcp://":                         {},
		"tcp://:2376":                    {},
		"tcp://host:65536":               {},
		"tcp://host:docker":              {},
		"tcp://host:2376/v1.41":          {},
		"tcp://host:2376?x=1":            {},
		"tcp://host:2376#x":              {},
		"tcp://user:secret@host:2376":    {},
		"unix://var/run/docker.sock":     {},
		"unix://":                        {},
		"ssh://host":                     {},
		"npipe:////./pipe/docker_engine": {},
	} {
		got, err := Parse(text)
		if got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
		if (want == Addr{}) != errors.Is(err, ErrSyntax) {
			t.Errorf("%q: got error %v with %+v", text, err, got)
		}
	}
}

func TestParseListenAllowsNoHost(t *testing.T) {
	t.Parallel()
	if a, err := ParseListen("tcp://:2376"); err != nil || a.HostPort(PortTLS) != ":2376" {
		t.Errorf("got %+v, %v; want every address at port 2376", a, err)
	}
	for _, text := range []string{"tcp://", "unix:///run/docker.sock"} {
		if a, err := ParseListen(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: got %+v, %v; want %v", text, a, err, ErrSyntax)
		}
	}
}

func TestParseTCPRefusesSockets(t *testing.T) {
	t.Parallel()
	if a, err := ParseTCP("unix:///run/docker.sock"); !errors.Is(err, ErrSyntax) {
		t.Errorf("got %+v, %v; want %v", a, err, ErrSyntax)
	}
}

func TestFormatIsParsedAgain(t *testing.T) {
	t.Parallel()
	if a, err := Parse(ForTCP("::1", "2376")); err != nil || a.HostPort("1") != "[::1]:2376" {
		t.Errorf("got %+v, %v; want host ::1 and port 2376", a, err)
	}
	if a, err := Parse(ForSocket("/run/docker.sock")); err != nil || a.Path != "/run/docker.sock" {
		t.Errorf("got %+v, %v; want the socket", a, err)
	}
	for _, text := range []string{"/run/docker.sock", "unix:///run/docker.sock"} {
		if got := SocketPath(text); got != "/run/docker.sock" {
			t.Errorf("%q: got path %q", text, got)
		}
	}
}

func TestRedactedHidesPasswords(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"tcp://user:secret@host:2376", "tcp://user:secret@host:port"} {
		if got := Redacted(text); strings.Contains(got, "secret") || !strings.Contains(got, "host") {
			t.Errorf("%q: got %q, want it without the password", text, got)
		}
	}
}
