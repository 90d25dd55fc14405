package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/config"
)

// forwarded makes a request with the headers of a proxy in front.
func (b *berth) forwarded(t *testing.T, method, path, token string, header map[string]string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestClientAddressIsTakenFromTrustedProxyOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		trusted, forwarded string
		remote             string // prefix of the record's remote
	}{
		"no proxy is trusted":        {"", "192.0.2.1", "127.0.0.1:"},
		"another is trusted":         {"10.0.0.0/8", "192.0.2.1", "127.0.0.1:"},
		"the peer is trusted":        {"127.0.0.0/8", "192.0.2.1", "192.0.2.1"},
		"forged hops before":         {"127.0.0.1", "198.51.100.9, 192.0.2.1", "192.0.2.1"},
		"a chain of trusted proxies": {"127.0.0.1, 10.0.0.0/8,2001:db8::/32", "198.51.100.9,192.0.2.1, 2001:db8::7, 10.1.2.3", "192.0.2.1"},
		"only trusted":               {"127.0.0.1,10.0.0.0/8", "10.0.0.1, 10.0.0.2", "10.0.0.1"},
		"with a port":                {"127.0.0.1", "192.0.2.1:4711", "192.0.2.1:4711"},
		"IPv6 in brackets":           {"127.0.0.1", "[2001:db8::1]", "2001:db8::1"},
		"no address":                 {"127.0.0.1,10.0.0.0/8", "192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"},
		"nothing forwarded":          {"127.0.0.1", "", "127.0.0.1:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t)
			cfg.Server.TrustedProxies = c.trusted
			cfg.Log.FileEnabled, cfg.Log.AuditFile = true, filepath.Join(t.TempDir(), "audit.log")
			b := start(t, cfg)
			b.forwarded(t, http.MethodGet, "/sessions", "wrong", map[string]string{"X-Forwarded-For": c.forwarded})
			b.end(t)
			text, err := os.ReadFile(cfg.Log.RefusalsFile())
			if err != nil {
				t.Fatal(err)
			}
			var r struct{ Remote string }
			if err := json.Unmarshal(text, &r); err != nil || !strings.HasPrefix(r.Remote, c.remote) || len(r.Remote) > len(c.remote)+5 {
				t.Errorf("%v: got remote %q, want %s", err, r.Remote, c.remote)
			}
		})
	}
}

// Behind a trusted proxy, wrong tokens count for the forwarded client; without one, a client cannot pretend to be another.
func TestThrottleCountsTheForwardedClient(t *testing.T) {
	t.Parallel()
	for name, trusted := range map[string]string{"trusted": "127.0.0.1", "not trusted": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t)
			cfg.Server.TrustedProxies = trusted
			b := start(t, cfg)
			ask := func(client string) int {
				status, _ := b.forwarded(t, http.MethodGet, "/sessions", "", map[string]string{"X-Forwarded-For": client})
				return status
			}
			for range 2 * access.Burst {
				ask("192.0.2.1")
			}
			if got := ask("192.0.2.1"); got != http.StatusTooManyRequests {
				t.Errorf("the client with many wrong tokens: got %d, want 429", got)
			}
			want := map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests}[trusted != ""]
			if got := ask("192.0.2.2"); got != want {
				t.Errorf("another client: got %d, want %d", got, want)
			}
		})
	}
}

// The session's server gets the client's address and scheme from Berth and from trusted proxies only.
func TestSessionsServersGetTheForwardedClientAndScheme(t *testing.T) {
	t.Parallel()
	headers := map[string]string{
		"X-Forwarded-For": "203.0.113.5, 192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Real-Ip": "203.0.113.5",
	}
	for name, c := range map[string]struct{ trusted, client, scheme string }{
		"trusted": {"127.0.0.1", "192.0.2.1", "https"}, "not trusted": {"", "127.0.0.1", "http"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t)
			cfg.Server.TrustedProxies = c.trusted
			b := start(t, cfg)
			var s made
			if status := b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &s); status != http.StatusCreated {
				t.Fatalf("create: got %d", status)
			}
			status, body := b.forwarded(t, http.MethodGet, "/s/"+s.ID+"/echo", s.Token, headers)
			var got struct{ Header map[string][]string }
			if err := json.Unmarshal([]byte(body), &got); status != http.StatusOK || err != nil {
				t.Fatalf("got %d, %v: %s", status, err, body)
			}
			for header, want := range map[string]string{
				"X-Forwarded-For": c.client, "X-Forwarded-Proto": c.scheme, "X-Forwarded-Host": b.Addr().String(), "X-Real-Ip": "",
			} {
				if seen := strings.Join(got.Header[header], ", "); seen != want {
					t.Errorf("%s: got %q, want %q", header, seen, want)
				}
			}
			page := map[string]string{"X-Forwarded-Proto": "https", "Origin": "https://" + b.Addr().String()}
			want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[c.trusted != ""]
			if status, body := b.forwarded(t, http.MethodPost, "/s/"+s.ID+"/echo", s.Token, page); status != want {
				t.Errorf("a page of Berth's own origin over https: got %d, want %d: %s", status, want, body)
			}
		})
	}
}

func TestLogHasForwardedAddressWithoutInventedPort(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Server.TrustedProxies = "127.0.0.1"
	b, kept := startLogged(t, cfg)
	for _, client := range []string{"192.0.2.1", "2001:db8::1", "192.0.2.2:4711"} {
		for range access.Burst + 2 { // the last ones are logged as limited
			b.forwarded(t, http.MethodGet, "/sessions", "wrong", map[string]string{"X-Forwarded-For": client})
		}
	}
	seen := map[any]int{}
	for _, l := range kept.lines(t) {
		if l["message"] == "request refused" {
			seen[l["remote"]]++
		}
	}
	if len(seen) != 3 || seen["192.0.2.1"] == 0 || seen["2001:db8::1"] == 0 || seen["192.0.2.2:4711"] == 0 {
		t.Errorf("got lines of %v, want the addresses alone, and the port that was forwarded", seen)
	}
}

func TestInvalidTrustedProxiesAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"proxy.example", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1,,10.0.0.2", "::ffff:10.0.0.0/104", "fe80::1%eth0", "0.0.0.0", "0.0.0.0/1,128.0.0.0/1", "8.0.0.0/7", "::/1,8000::/1", "fe00::/15"} {
		_, err := config.Load(config.Options{Overrides: map[string]string{"TRUSTED_PROXIES": text}})
		if err == nil || !strings.Contains(err.Error(), "TRUSTED_PROXIES") || !strings.Contains(err.Error(), "wider than /8, or /16 of IPv6") {
			t.Errorf("%q: got %v, want it refused with what is allowed", text, err)
		}
	}
}
