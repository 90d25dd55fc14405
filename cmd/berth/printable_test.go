package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"
)

// hostile is log text that tries to control the reader's terminal: colours, the clipboard (OSC 52), 8-bit control sequences,
// right-to-left text, a line that overwrites itself, and bytes that are not UTF-8.
const hostile = "good line\twith ümlaut, 日本 and 🙂\r\n\x1b[31mred\x1b]52;c;ZXZpbA==\x07 \u009b2J \u202egnp.exe\u2066 over\rwritten \xff\xc3 end\x08\x7f\n"

// terminal opens a pseudo-terminal: read closes it and returns what was written to out.
func terminal(t *testing.T) (out *os.File, read func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	out, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	var seen bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&seen, master) // EIO when the other end is closed
	}()
	return out, func() string {
		out.Close()
		<-done
		return strings.ReplaceAll(seen.String(), "\r\n", "\n") // the terminal's own line ends
	}
}

// hostileBerth is a server that returns hostile text of users and containers.
func hostileBerth(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(strings.ToValidUTF8(hostile, "\uFFFD"))
	if err != nil {
		t.Fatal(err)
	}
	one := fmt.Sprintf(`{"session_id":"ses-a","status":"error","owner":%[1]s,"image":%[1]s,"last_error":%[1]s,"metadata":{"k":%[1]s}}`, text)
	event := fmt.Sprintf(`{"at":"2026-01-02T03:04:05Z","what":"created","by":%[1]s,"reason":%[1]s}`, text)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/logs"):
			for i := range len(hostile) { // characters are split across writes
				_, _ = io.WriteString(w, hostile[i:i+1])
				_ = http.NewResponseController(w).Flush()
			}
		case r.Method == http.MethodPost:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintf(w, `{"code":"conflict","detail":%s}`, text)
		case r.Header.Get("Accept") == "text/event-stream":
			fmt.Fprintf(w, "data: %s\n\n", event)
		case strings.HasSuffix(r.URL.Path, "/events"):
			fmt.Fprintf(w, `{"events":[%s]}`, event)
		case r.URL.Path == "/sessions":
			fmt.Fprintf(w, `{"sessions":[%s]}`, one)
		default:
			_, _ = io.WriteString(w, one)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// The command line escapes control characters in the text of others.
func TestForeignTextIsEscapedOnTerminal(t *testing.T) {
	t.Parallel()
	url := hostileBerth(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("admin-token-of-a-test"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"logs ses-a", "logs ses-a --follow", "list", "list -o json", "show ses-a", "show ses-a -o json", "events ses-a", "events ses-a -o json",
		"events ses-a --follow", "events ses-a --follow -o json", "stop ses-a ses-b",
	} {
		out, read := terminal(t)
		words := append([]string{"session"}, strings.Fields(args)...)
		run(append(words, "--url", url, "--token-file", token), &stdio{In: strings.NewReader(""), Out: out, Err: out})
		seen := read()
		for i, r := range seen {
			if r == unicode.ReplacementChar && !strings.HasPrefix(seen[i:], "\uFFFD") || r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				t.Errorf("%s: %U reaches the terminal in %q", args, r, seen)
				break
			}
		}
		if !strings.Contains(seen, "日本 and 🙂") || !strings.Contains(seen, "1b[31mred") {
			t.Errorf("%s: got %q, want the printable text and escapes", args, seen)
		}
	}
}

func TestLogsAreUnchangedOnPipeAndWithRaw(t *testing.T) {
	t.Parallel()
	url := hostileBerth(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("admin-token-of-a-test"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"session", "logs", "ses-a", "--url", url, "--token-file", token}
	var out bytes.Buffer
	if code := run(args, &stdio{In: strings.NewReader(""), Out: &out, Err: &out}); code != 0 || out.String() != hostile {
		t.Errorf("to a pipe: exit code %d, %q; want what the server wrote", code, out.String())
	}
	tty, read := terminal(t)
	run(append(args, "--raw"), &stdio{In: strings.NewReader(""), Out: tty, Err: tty})
	if seen := read(); !strings.Contains(seen, "\x1b[31mred") {
		t.Errorf("--raw: got %q, want what the server wrote", seen)
	}
}

func TestListSendsEmptyOwnerToServer(t *testing.T) {
	t.Parallel()
	var query string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		_, _ = io.WriteString(w, `{"sessions":[]}`)
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("admin-token-of-a-test"), 0o600); err != nil {
		t.Fatal(err)
	}
	run([]string{"session", "list", "--owner", "", "--url", server.URL, "--token-file", token}, &stdio{Out: io.Discard, Err: io.Discard})
	if !strings.Contains(query, "owner=") {
		t.Errorf("got the query %q, want the empty owner in it, which the server rejects", query)
	}
}
