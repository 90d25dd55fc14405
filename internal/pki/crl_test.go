package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"berth/internal/pin"
)

// listed is a server that reloads its files, with its reports.
type listed struct {
	*Server
	reports []error
}

func openListed(t *testing.T, dir string, now func() time.Time) *listed {
	t.Helper()
	l := &listed{}
	server, _, err := OpenServer(ServerPaths(dir), ServerOptions{Now: now, Reloaded: func(err error) { l.reports = append(l.reports, err) }})
	if err != nil {
		t.Fatal(err)
	}
	l.Server = server
	return l
}

func mustRevoke(t *testing.T, dir, what string) Revocation {
	t.Helper()
	result, err := Revoke(dir, what, RevokeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestRevokedClientIsRefused(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"file", "serial number", "fingerprint"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			clock := newClock(time.Now())
			alice := issued(t, dir, "alice")
			path := filepath.Join(alice, ClientCertFile)
			entry := described(t, path)
			server := openListed(t, dir, clock.now)
			presented, err := ReadCertificates(path)
			if err != nil {
				t.Fatal(err)
			}
			if !works(t, server.TLS(), clientTLS(t, alice)) || server.Admits(presented) != nil {
				t.Fatal("the client is not admitted before it is revoked")
			}
			result := mustRevoke(t, dir, map[string]string{"file": path, "serial number": entry.Serial, "fingerprint": entry.FingerprintSHA256}[by])
			if result.Outcome != Created || result.Serial != entry.Serial || len(result.Warnings) != 0 {
				t.Errorf("got %+v, want a new entry for %s", result, entry.Serial)
			}
			if works(t, server.TLS(), clientTLS(t, alice)) {
				t.Error("the revoked client is admitted to a new connection")
			}
			clock.advance(checkInterval)
			if err := server.Admits(presented); !errors.Is(err, ErrRevoked) {
				t.Errorf("open connection: %v, want %v", err, ErrRevoked)
			}
			if !works(t, server.TLS(), clientTLS(t, dir)) {
				t.Error("another client was refused with it")
			}
			if again := mustRevoke(t, dir, path); again.Outcome != Unchanged || again.Number != result.Number {
				t.Errorf("revoked twice: %+v, want list %s unchanged", again, result.Number)
			}
		})
	}
}

func TestRevokedServerIsRefused(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	stolen := serverTLS(t, copied(t, dir))
	client := clientTLS(t, dir)
	if !works(t, stolen, client) {
		t.Fatal("no handshake before the revocation")
	}
	if result := mustRevoke(t, dir, filepath.Join(dir, ServerCertFile)); len(result.Warnings) != 1 || result.Warnings[0].Code != WarnRevoked {
		t.Errorf("warnings %v, want one that it stands here", result.Warnings)
	}
	if _, err := handshake(t, stolen, client); !errors.Is(err, ErrRevoked) {
		t.Errorf("client says %v, want %v", err, ErrRevoked)
	}
	renewal, err := Renew(dir, RenewOptions{KeepKey: true})
	if err != nil || len(renewal.Renewed) != 1 || renewal.Renewed[0].Kind != KindServer {
		t.Fatalf("renewal of the revoked certificate: %+v, %v", renewal, err)
	}
	usable(t, dir, "after the renewal")
	if works(t, stolen, client) {
		t.Error("the revoked key is still usable for a server")
	}
}

func TestListIsNumberedAndSorted(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	now := time.Now()
	last := new(big.Int)
	for _, serial := range []string{"ff", "1", "80"} {
		result, err := Revoke(dir, serial, RevokeOptions{Force: true, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		number, ok := new(big.Int).SetString(result.Number, 10)
		if !ok || number.Cmp(last) <= 0 {
			t.Errorf("number %s after %s within one second, want a larger one", result.Number, last)
		}
		last = number
	}
	all, err := ReadCertificates(filepath.Join(dir, CACertFile))
	if err != nil {
		t.Fatal(err)
	}
	lists, err := readRevocations(filepath.Join(dir, CACertFile), all)
	if err != nil {
		t.Fatal(err)
	}
	var serials []string
	for _, entry := range lists[pin.Of(all[0])].RevokedCertificateEntries {
		serials = append(serials, entry.SerialNumber.Text(16))
	}
	if !slices.Equal(serials, []string{"1", "80", "ff"}) {
		t.Errorf("serial numbers %v, want them sorted", serials)
	}
}

// A list that must not replace the one in force is reported once and not used.
func TestInvalidNewListKeepsListInForce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string, first []byte) []byte // nil: remove
		want  error
	}{
		{"malformed", func(*testing.T, string, []byte) []byte { return []byte("rubbish") }, ErrMalformed},
		{"damaged behind a good one", func(t *testing.T, dir string, _ []byte) []byte {
			list := contents(t, dir)[CRLFile]
			return []byte(list + list[:len(list)/2])
		}, ErrMalformed},
		{"the same twice", func(t *testing.T, dir string, _ []byte) []byte {
			list := contents(t, dir)[CRLFile]
			return []byte(list + list)
		}, ErrMalformed},
		{"of another authority", func(t *testing.T, _ string, _ []byte) []byte {
			other := initialized(t, InitOptions{})
			if _, err := Revoke(other, "1", RevokeOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			return []byte(contents(t, other)[CRLFile])
		}, ErrListSigner},
		{"signature broken", func(t *testing.T, dir string, _ []byte) []byte {
			block, _ := pem.Decode([]byte(contents(t, dir)[CRLFile]))
			block.Bytes[len(block.Bytes)-1] ^= 1
			return pem.EncodeToMemory(block)
		}, ErrListSigner},
		{"older", func(_ *testing.T, _ string, first []byte) []byte { return first }, ErrOlderList},
		{"gone", nil, ErrOlderList},
		{"a key", func(t *testing.T, dir string, _ []byte) []byte { return []byte(contents(t, dir)[CAKeyFile]) }, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			alice, bob, carol := issued(t, dir, "alice"), issued(t, dir, "bob"), issued(t, dir, "carol")
			mustRevoke(t, dir, filepath.Join(alice, ClientCertFile))
			first := []byte(contents(t, dir)[CRLFile])
			mustRevoke(t, dir, filepath.Join(bob, ClientCertFile))
			server := openListed(t, dir, nil)
			var spoiled []byte
			if tt.spoil != nil {
				spoiled = tt.spoil(t, dir, first)
			}
			if err := os.Remove(filepath.Join(dir, CRLFile)); err != nil {
				t.Fatal(err)
			}
			if spoiled != nil {
				if err := os.WriteFile(filepath.Join(dir, CRLFile), spoiled, 0o444); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				if works(t, server.TLS(), clientTLS(t, bob)) {
					t.Error("a revoked client is admitted")
				}
				if !works(t, server.TLS(), clientTLS(t, carol)) {
					t.Error("a client that was not revoked is refused")
				}
			}
			if len(server.reports) != 1 || !errors.Is(server.reports[0], tt.want) {
				t.Errorf("reports %v, want one of %v", server.reports, tt.want)
			}
			// A server has no list in force at its start and refuses to start: the records show that there are revocations.
			want := tt.want
			if tt.spoil == nil {
				want = ErrNoList
			}
			if _, _, err := OpenServer(ServerPaths(dir), ServerOptions{}); !errors.Is(err, want) {
				t.Errorf("start with it: %v, want %v", err, want)
			}
		})
	}
}

func TestLostRevocationListIsRecreatedOnlyWithForce(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	alice, bob := issued(t, dir, "alice"), issued(t, dir, "bob")
	mustRevoke(t, dir, filepath.Join(alice, ClientCertFile))
	server := openListed(t, dir, nil)
	path := filepath.Join(dir, CRLFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := Revoke(dir, filepath.Join(bob, ClientCertFile), RevokeOptions{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("revoke with a malformed list: %v, want %v", err, ErrMalformed)
	}
	// Its number follows the lost one's, so that servers use it.
	later := func() time.Time { return time.Now().Add(time.Second) }
	if _, err := Revoke(dir, filepath.Join(bob, ClientCertFile), RevokeOptions{Force: true, Now: later}); err != nil {
		t.Fatal(err)
	}
	if works(t, server.TLS(), clientTLS(t, bob)) {
		t.Errorf("the new list is not in force: reports %v", server.reports)
	}
}

func TestReferencesAreReadInEveryForm(t *testing.T) {
	t.Parallel()
	fingerprint := string(bytes.Repeat([]byte("ab"), 32))
	for text, want := range map[string]string{
		"0F:A0": "serial number fa0", "serial=fa0": "serial number fa0", "0xfa0": "serial number fa0",
		fingerprint: "fingerprint " + fingerprint, "sha256:" + fingerprint: "fingerprint " + fingerprint,
	} {
		if ref, err := parseReference(text); err != nil || ref.String() != want {
			t.Errorf("%q is %v, %v; want %s", text, ref, err, want)
		}
	}
	for _, text := range []string{"", "0", "00:00", "xyz", "-1", "+1", "1 2", fingerprint + "a", fingerprint[:50]} {
		if ref, err := parseReference(text); err == nil {
			t.Errorf("%q was read as %v", text, ref)
		}
	}
}

// FuzzReference checks that the text form of an accepted reference parses to the same reference.
func FuzzReference(f *testing.F) {
	for _, text := range []string{"aa55", "AA:55", "0x1", "sha256:" + string(bytes.Repeat([]byte("0"), 64)), ":", "ſerial=1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := parseReference(text)
		if err != nil {
			return
		}
		digits := ref.fingerprint
		if ref.serial != nil {
			if ref.serial.Sign() <= 0 || ref.serial.BitLen() > 160 {
				t.Fatalf("%q became the serial number %v", text, ref.serial)
			}
			digits = ref.serial.Text(16)
		}
		if again, err := parseReference(digits); err != nil || again.String() != ref.String() {
			t.Errorf("%q was read as %v, and that as %v, %v", text, ref, again, err)
		}
	})
}

// FuzzRevocations checks that an accepted list is signed by the authority, so that no mutation of a valid one changes it.
func FuzzRevocations(f *testing.F) {
	ca, err := NewAuthority(Request{CommonName: "ca", Now: time.Now(), Days: 10})
	if err != nil {
		f.Fatal(err)
	}
	list, err := ca.Revoked(nil, []*big.Int{big.NewInt(5)}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	all := []*x509.Certificate{ca.Certificate}
	good := Revocations{pin.Of(ca.Certificate): list}.encode(all)
	f.Add(good)
	f.Add(append(slices.Clone(good), good...))
	f.Add(good[:len(good)-10])
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lists, err := parseRevocations(data, all)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrListSigner) {
				t.Errorf("error %v is neither %v nor %v", err, ErrMalformed, ErrListSigner)
			}
			return
		}
		got := lists[pin.Of(ca.Certificate)]
		if got == nil || !bytes.Equal(got.RawTBSRevocationList, list.RawTBSRevocationList) {
			t.Error("accepted a list that the authority has not signed")
		}
	})
}
