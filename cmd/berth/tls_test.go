package main

import (
	"bytes"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/servertls"
	"berth/internal/tlstest"
)

// The certificate is for the public name; commands on the machine connect to the loopback address.
func TestCommandsTrustTheCertificateOfTheirOwnBerth(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sessions" {
			_, _ = w.Write([]byte(`{"sessions": []}`))
		}
	})
	a := tlstest.New(t)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = a.Server(t, []string{"berth.example"})
	server.StartTLS()
	t.Cleanup(server.Close)
	leaf := server.TLS.Certificates[0].Leaf
	other := a.Issue(t, leaf.NotBefore, 90, "berth.example").Certificate

	address := strings.TrimPrefix(server.URL, "https://")
	for name, tc := range map[string]struct {
		published *x509.Certificate // nil: none can be read
		flags     []string
		code      int
		says      string
	}{
		"the published address":        {published: leaf},
		"the same, named":              {published: leaf, flags: []string{"--url", server.URL}},
		"another certificate":          {published: other, code: 6, says: "another certificate than the Berth of this state directory"},
		"no certificate was published": {code: 6, says: "is not trusted"},
	} {
		state := t.TempDir()
		write := func(name, text string) {
			if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("address", server.URL)
		write("admin-token", "0123456789abcdef")
		if tc.published != nil {
			write("address-certificates.pem", string(servertls.Encode([]*x509.Certificate{tc.published})))
		}
		code, out, errs := listSessions(t, []string{"BERTH_STATE_DIR=" + state, "HOME=" + t.TempDir(), "BERTH_CONFIG=/dev/null"}, tc.flags...)
		if code != tc.code || !strings.Contains(errs, tc.says) {
			t.Errorf("%s: got exit code %d, %q, %q; want %d and %q", name, code, out, errs, tc.code, tc.says)
		}
	}

	var out, errs bytes.Buffer
	cert, key := a.Files(t, "berth.example")
	code := run([]string{"health", "--listen", address}, &stdio{Out: &out, Err: &errs, Environ: []string{
		"BERTH_TLS_CERT=" + cert, "BERTH_TLS_KEY=" + key, "BERTH_CONFIG=/dev/null", "HOME=" + t.TempDir(),
	}})
	if code != 0 || out.String() != "ready\n" {
		t.Errorf("health: got exit code %d, %q, %q", code, out.String(), errs.String())
	}
}
