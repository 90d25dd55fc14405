package doctor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/pki"
)

func TestCertificateStrength(t *testing.T) {
	t.Parallel()
	checkCases{
		"good":    {nil, []string{"pass strong"}},
		"process": {process, []string{"skipped no-engine-used"}},
		"weak": {func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{rsaBits: 1024, days: 90})
		}, []string{"fail weak-key"}},
		"short": {func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{rsaBits: 2048, days: 90})
		}, []string{"warn short-key"}},
		"P-224": {func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{p224: true, days: 90})
		}, []string{"fail weak-key"}},
		"long life": {func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{days: 3650})
		}, []string{"warn long-life"}},
		"expired": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, 91) }
		}, []string{"fail expired", "fail expired"}},
		"early": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, -1) }
		}, []string{"fail not-yet-valid", "fail not-yet-valid", "fail not-yet-valid"}},
		"missing": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.CACert = filepath.Join(t.TempDir(), "ca.pem")
		}, []string{"fail certificate-missing"}},
		"malformed": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.CACert = filepath.Join(t.TempDir(), "ca.pem")
			write(t, o.Config.Docker.CACert, "nonsense")
		}, []string{"fail certificate-unreadable"}},
	}.run(t, "certificate-strength")
}

func TestCertificatePermissions(t *testing.T) {
	t.Parallel()
	checkCases{
		"good":         {nil, []string{"pass protected"}},
		"process":      {process, []string{"skipped no-engine-used"}},
		"open key":     {mode(pki.ClientKeyFile, 0o440), []string{"fail key-open"}},
		"writable key": {mode(pki.ServerKeyFile, 0o600), []string{"warn mode-differs"}},
		"writable":     {mode(pki.CACertFile, 0o664), []string{"fail certificate-writable"}},
		"other mode":   {mode(pki.CACertFile, 0o644), []string{"warn mode-differs"}},
		"open dir":     {mode(".", 0o755), []string{"warn directory-open"}},
		"writable dir": {mode(".", 0o777), []string{"fail directory-writable"}},
		"credentials": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Credentials = o.Config.Docker.CertPath
			for name, m := range map[string]fs.FileMode{pki.CACertFile: 0o400, pki.ClientCertFile: 0o440, pki.ClientKeyFile: 0o440, ".": 0o550} {
				mode(name, m)(t, o, nil)
			}
		}, []string{"pass protected"}},
		"open credentials": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Credentials = o.Config.Docker.CertPath
			mode(pki.ClientKeyFile, 0o444)(t, o, nil)
			mode(pki.CACertFile, 0o464)(t, o, nil)
		}, []string{"fail certificate-writable", "fail key-open"}},
		"credentials elsewhere": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Credentials = t.TempDir()
			mode(pki.CACertFile, 0o400)(t, o, nil)
		}, []string{"warn mode-differs"}},
		"no dir": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.CertPath = filepath.Join(t.TempDir(), "none")
		}, []string{"fail directory-unreadable"}},
		"no key": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.ClientKey = filepath.Join(o.Config.Docker.CertPath, "none.pem")
		}, []string{"fail file-unreadable"}},
	}.run(t, "certificate-permissions")
}

func TestCertificateRotation(t *testing.T) {
	t.Parallel()
	checkCases{
		"good":    {nil, []string{"pass in-time"}},
		"process": {process, []string{"skipped no-engine-used"}},
		"due": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, 65) }
		}, []string{"warn renewal-due", "warn renewal-due"}},
		"late": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, 85) }
		}, []string{"fail renewal-late", "fail renewal-late"}},
		"unfinished": {func(t *testing.T, o *Options, _ *fakeEngine) {
			text, err := os.ReadFile(o.Config.Docker.CACert)
			if err != nil {
				t.Fatal(err)
			}
			o.Config.Docker.CACert = filepath.Join(t.TempDir(), "ca.pem")
			write(t, o.Config.Docker.CACert, strings.Repeat(string(text), 2))
		}, []string{"warn rotation-unfinished"}},
		"no certificates": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.ClientCert = filepath.Join(t.TempDir(), "none.pem")
		}, []string{"fail certificate-missing"}},
	}.run(t, "certificate-rotation")
}

func mode(name string, mode os.FileMode) func(*testing.T, *Options, *fakeEngine) {
	return func(t *testing.T, o *Options, _ *fakeEngine) {
		if err := os.Chmod(filepath.Join(o.Config.Docker.CertPath, name), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// certificate describes a certificate to make.
type certificate struct {
	rsaBits int // 0: ECDSA
	p224    bool
	days    int
}

func writeCertificate(t *testing.T, path string, c certificate) {
	t.Helper()
	var key crypto.Signer
	var err error
	switch {
	case c.rsaBits > 0:
		key, err = rsa.GenerateKey(rand.Reader, c.rsaBits)
	case c.p224:
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, c.days),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func TestFixSetsRequiredModes(t *testing.T) {
	t.Parallel()
	o, _ := fixture(t)
	dir := o.Config.Docker.CertPath
	for name, mode := range map[string]os.FileMode{".": 0o777, pki.ClientKeyFile: 0o666, pki.CACertFile: 0o666, pki.ServerKeyFile: 0o440} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	done, err := fixPermissions(t.Context(), &o)
	if err != nil || len(done) != 4 {
		t.Fatalf("Fix: got %q, %v; want four corrections", done, err)
	}
	if diff := cmp.Diff([]string{"pass protected"}, codes(certificatePermissions(t.Context(), &o))); diff != "" {
		t.Errorf("after Fix (-want +got):\n%s", diff)
	}
	if done, err := fixPermissions(t.Context(), &o); err != nil || len(done) != 0 {
		t.Errorf("a second Fix: got %q, %v; want nothing to do", done, err)
	}
}

func TestFixDoesNotChangeLinkedFiles(t *testing.T) {
	t.Parallel()
	o, _ := fixture(t)
	dir, outside := o.Config.Docker.CertPath, t.TempDir()
	target := filepath.Join(outside, "passwords")
	write(t, target, "secret")
	if err := os.Chmod(target, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "link.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(target, filepath.Join(dir, "hard.pem")); err != nil {
		t.Fatal(err)
	}
	done, err := fixPermissions(t.Context(), &o)
	if err == nil || len(done) != 0 || !strings.Contains(err.Error(), "link.pem") || !strings.Contains(err.Error(), "hard.pem") {
		t.Errorf("Fix: got %q, %v; want both refused", done, err)
	}
	info, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o666 {
		t.Errorf("the file outside has mode %o now", info.Mode().Perm())
	}
}
