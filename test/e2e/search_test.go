package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/test/harness"
)

// forms are the ways in which a secret may stand in a text.
func forms(secret string) map[string]string {
	all := map[string]string{
		"as it is": secret, "in hex": hex.EncodeToString([]byte(secret)), "in HEX": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"in a query": url.QueryEscape(secret), "in a path": url.PathEscape(secret),
	}
	// Base64 looks different after one and after two bytes in front; what depends on the neighbours is cut off.
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := encoding.EncodeToString(padded)
			end := len(padded) * 8 / 6
			all[fmt.Sprintf("in %s, at %d", name, shift)] = text[(shift*8+5)/6 : end]
		}
	}
	return all
}

// search is what is looked for, and what was found.
type search struct {
	secrets map[string]string // by what they are
	found   []string
}

// in looks through a text that is not to hold any secret.
func (s *search) in(where string, text []byte) {
	for what, secret := range s.secrets {
		for how, form := range forms(secret) {
			if len(form) >= 8 && bytes.Contains(text, []byte(form)) {
				s.found = append(s.found, fmt.Sprintf("%s %s in %s", what, how, where))
				break
			}
		}
	}
}

// files looks through every file below a directory. Those of the given names may hold the secrets that they are made for,
// if nobody but their owner can read them.
func (s *search) files(t *testing.T, dir string, holders ...string) (seen int) {
	t.Helper()
	held := map[string]bool{}
	for _, name := range holders {
		held[name] = true
	}
	harness.Must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if held[d.Name()] {
			if info.Mode().Perm()&0o077 != 0 {
				s.found = append(s.found, fmt.Sprintf("%s is open to others: %v", path, info.Mode()))
			}
			return nil
		}
		text, err := os.ReadFile(path)
		seen++
		s.in(path, text)
		s.in("a name", []byte(path))
		return err
	}))
	return seen
}

// watchProcesses collects the command lines of every process on the machine until it is stopped, and returns them.
func watchProcesses(t *testing.T) (stop func() []byte) {
	t.Helper()
	var mu sync.Mutex
	lines := map[string]bool{}
	look := func() {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil { // it may have ended
				mu.Lock()
				lines[string(text)] = true
				mu.Unlock()
			}
		}
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			look()
			select {
			case <-tick.C:
			case <-over:
				tick.Stop()
				return
			}
		}
	}()
	end := sync.OnceFunc(func() { close(over); <-done })
	t.Cleanup(end)
	return func() []byte {
		end()
		all, err := exec.CommandContext(t.Context(), "ps", "-eo", "args").Output()
		harness.Must(t, err)
		for line := range lines {
			all = append(append(all, line...), '\n')
		}
		return all
	}
}

// streamCapture is everything that Berth has answered, but for the tokens where they were to be shown.
type streamCapture struct {
	*fixture
	text bytes.Buffer
}

// call makes a request and keeps the answer.
func (h *streamCapture) call(t *testing.T, method, path, token, body string) harness.Answer {
	t.Helper()
	a := h.Call(method, path, token, body)
	shown := a.Body
	if a.Status < http.StatusBadRequest && (strings.HasSuffix(path, "/sessions") || strings.Contains(path, "/auth/rotate")) && method == http.MethodPost {
		shown = bytes.Replace(shown, []byte(a.Field("token")), []byte("[the token]"), 1)
	}
	fmt.Fprintf(&h.text, "%s %d %v %s\n", method, a.Status, a.Header, shown)
	return a
}

// The search would be worth nothing if it found nothing.
func TestTheSearchFindsSecretsInEveryForm(t *testing.T) {
	t.Parallel()
	const secret = "s3cret/of+this test?"
	for name, text := range map[string]string{
		"plain": "x" + secret + "y", "hex": hex.EncodeToString([]byte("ab" + secret + "c")), "query": "?a=" + url.QueryEscape(secret),
		"basic, no user":   base64.StdEncoding.EncodeToString([]byte(":" + secret)),
		"basic, a user":    base64.StdEncoding.EncodeToString([]byte("opencode:" + secret)),
		"basic, another":   base64.StdEncoding.EncodeToString([]byte("berth-1:" + secret)),
		"in the middle":    base64.URLEncoding.EncodeToString([]byte("abcde" + secret + "fghij")),
		"in upper case":    strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"whole, unpadded":  base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"whole, with an =": base64.StdEncoding.EncodeToString([]byte(secret)),
	} {
		s := search{secrets: map[string]string{"it": secret}}
		if s.in(name, []byte(text)); len(s.found) != 1 {
			t.Errorf("%s: not found in %s", name, text)
		}
	}
	s := search{secrets: map[string]string{"it": secret}}
	if s.in("another text", []byte("s3cret/of+that test? "+base64.StdEncoding.EncodeToString([]byte("s3cret/of+that test?")))); len(s.found) != 0 {
		t.Errorf("found %v where it is not", s.found)
	}
	dir := t.TempDir()
	harness.Must(t, os.WriteFile(filepath.Join(dir, "log"), []byte(secret), 0o600))
	harness.Must(t, os.WriteFile(filepath.Join(dir, "holder"), []byte(secret), 0o600))
	harness.Must(t, os.WriteFile(filepath.Join(dir, "open-holder"), []byte(secret), 0o644))
	if s.files(t, dir, "holder", "open-holder"); len(s.found) != 2 {
		t.Errorf("got %v, want the log and the holder that others can read", s.found)
	}
}
