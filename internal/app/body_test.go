package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An unauthenticated client that announces a body and withholds it gets an answer, and does not delay the shutdown.
func TestWithheldBodyDelaysNeitherAnswerNorShutdown(t *testing.T) {
	t.Parallel()
	b := start(t, settings(t))
	const announced, chunked = "Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n10\r\n"
	for framing, routes := range map[string][]string{
		announced: {"POST /s/ses-aaaaaaaaaaaaaaaa/x", "POST /sessions", "PUT /sessions", "POST /nowhere", "POST /livez", "GET /openapi.json"},
		chunked:   {"POST /s/ses-aaaaaaaaaaaaaaaa/x", "POST /sessions"},
	} {
		for _, route := range routes {
			t.Run(route+" "+framing[:8], func(t *testing.T) {
				t.Parallel()
				conn, err := net.Dial("tcp", b.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s", route, framing)
				reader := bufio.NewReader(conn)
				resp, err := http.ReadResponse(reader, nil)
				if err != nil {
					t.Fatalf("no answer: %v", err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatalf("%s: incomplete answer: %v", resp.Status, err)
				}
				_ = resp.Body.Close()
				if _, err := reader.ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
					t.Errorf("the connection is kept: %v", err)
				}
			})
		}
	}
}

// A create may take longer than the API framework's deadline for its body.
func TestLongCreateIsAnswered(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	p := cfg.Profiles["opencode"]
	p.Env["STUB_MODE"], p.Env["STUB_DELAY"] = "slow", "6s"
	cfg.Profiles["opencode"] = p
	b := start(t, cfg)
	for _, body := range []string{`{"owner":"patient"}`, ""} {
		t.Run("body "+body, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+b.Addr().String()+"/sessions", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+b.adminToken(t))
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				t.Errorf("got %s, want 201", resp.Status)
			}
		})
	}
}
