package acme

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mholt/acmez/v3/acme"

	"berth/internal/atomicfile"
)

func TestHookGetsItsArgumentsAndNoSecrets(t *testing.T) {
	t.Setenv("BERTH_ADMIN_TOKEN", "the operator's own token")
	dir := t.TempDir()
	hook, seen := filepath.Join(dir, "hook"), filepath.Join(dir, "seen")
	script := "#!/bin/sh\nprintf '%s|' \"$@\" >>" + seen + "\nenv >>" + seen + "\n"
	if err := atomicfile.Write(hook, []byte(script), 0o755, ""); err != nil {
		t.Fatal(err)
	}
	h := Hook{Program: hook, Logger: slog.New(slog.DiscardHandler)}
	challenge := acme.Challenge{Type: "dns-01", KeyAuthorization: "key", Identifier: acme.Identifier{Type: "dns", Value: "sessions.example; rm -rf /"}}
	if err := h.Present(t.Context(), challenge); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	want := "present|_acme-challenge.sessions.example; rm -rf /|" + challenge.DNS01KeyAuthorization() + "|"
	if !strings.HasPrefix(string(text), want) || strings.Contains(string(text), "BERTH_ADMIN_TOKEN") || !strings.Contains(string(text), "PATH=") {
		t.Errorf("the hook got %q, want %q, PATH and no secret", text, want)
	}
}

func TestFailedHookIsReportedWithTheEndOfItsOutput(t *testing.T) {
	t.Parallel()
	hook := filepath.Join(t.TempDir(), "hook")
	script := "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x\necho no such zone >&2\nexit 3\n"
	if err := atomicfile.Write(hook, []byte(script), 0o755, ""); err != nil {
		t.Fatal(err)
	}
	err := Hook{Program: hook, Logger: slog.New(slog.DiscardHandler)}.CleanUp(t.Context(), acme.Challenge{Identifier: acme.Identifier{Value: "x.example"}})
	if err == nil || !strings.HasSuffix(err.Error(), "no such zone") || !strings.Contains(err.Error(), "exit status 3") || len(err.Error()) > 2*maxHookOutput {
		t.Errorf("got %d bytes: %v", len(err.Error()), err)
	}
}
