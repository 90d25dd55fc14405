package pki

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func step(t *testing.T, dir string, opts RotateOptions) Rotation {
	t.Helper()
	at, err := Rotate(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Both ends follow the files; a client that got only the first step's ca.pem stays connected until its authority is retired.
func TestRotationKeepsConnections(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	server, client := serverTLS(t, dir), clientTLS(t, dir)
	far := issued(t, dir, "far")
	farClient := clientTLS(t, far)
	first := described(t, filepath.Join(dir, CACertFile))
	want := func(when string, near, distant bool) {
		t.Helper()
		if got := works(t, server, client); got != near {
			t.Errorf("%s: client of the directory: %v, want %v", when, got, near)
		}
		if got := works(t, server, farClient); got != distant {
			t.Errorf("%s: client elsewhere: %v, want %v", when, got, distant)
		}
	}
	want("before", true, true)
	at := step(t, dir, RotateOptions{})
	if at.Stage != StageTrusted || at.Old.FingerprintSHA256 != first.FingerprintSHA256 || at.New.Subject == at.Old.Subject {
		t.Errorf("step 1: %+v, want the new authority beside %s, under a name of its own", at, first.Subject)
	}
	want("step 1", true, true)
	replace(t, filepath.Join(dir, CACertFile), filepath.Join(far, CACertFile))
	at = step(t, dir, RotateOptions{})
	if at.Stage != StageReissued || described(t, filepath.Join(dir, ServerCertFile)).AuthorityKeyID != at.New.KeyID {
		t.Errorf("step 2: %+v, want leaves of the new authority", at)
	}
	want("step 2", true, true)
	if at = step(t, dir, RotateOptions{Finish: true}); at.Stage != StageNone {
		t.Errorf("step 3: %+v, want no rotation", at)
	}
	want("step 3", true, false)
	all, err := ReadCertificates(filepath.Join(dir, CACertFile))
	if err != nil || len(all) != 1 || Fingerprint(all[0]) == first.FingerprintSHA256 {
		t.Errorf("authorities at the end: %d, %v; want only the new one", len(all), err)
	}
	for _, name := range []string{nextCAKey, oldCAKey, rotationFile} {
		if exists(filepath.Join(dir, name)) {
			t.Errorf("%s is left over", name)
		}
	}
	if _, err := Init(dir, InitOptions{}); err != nil {
		t.Errorf("Init finds fault with the result: %v", err)
	}
}

func TestOldAuthorityStaysWhileInUse(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	alice := issued(t, dir, "alice")
	step(t, dir, RotateOptions{})
	step(t, dir, RotateOptions{})
	before := contents(t, dir)
	unused := func(Description, Description) []string { return nil }
	for _, tt := range []struct {
		name string
		ask  func(old, fresh Description) []string
		says []string
	}{
		{"usage is not known", nil, []string{"alice", "it is not known which clients"}},
		{"a client is connected", func(Description, Description) []string { return []string{"bob is connected"} }, []string{"alice", "bob is connected"}},
		{"a certificate is valid elsewhere", unused, []string{"alice"}},
	} {
		_, err := Rotate(dir, RotateOptions{InUse: tt.ask})
		needed, ok := errors.AsType[*InUseError](err)
		if !ok || len(needed.Reasons) != len(tt.says) {
			t.Fatalf("%s: %v, want %d reasons", tt.name, err, len(tt.says))
		}
		for _, word := range tt.says {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not mention %q", tt.name, err, word)
			}
		}
		if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
			t.Errorf("%s: files changed: %s", tt.name, diff)
		}
	}
	// The old authority can revoke until it is retired, and its revocations are not needed afterwards.
	mustRevoke(t, dir, filepath.Join(alice, ClientCertFile))
	if at := step(t, dir, RotateOptions{InUse: unused}); at.Stage != StageNone {
		t.Errorf("%+v, want the old authority retired", at)
	}
	if lists := strings.Count(contents(t, dir)[CRLFile], "BEGIN"); lists != 1 {
		t.Errorf("%d lists are left, want that of the new authority alone", lists)
	}
}

func TestIssueFromRetiringAuthorityWarns(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	for i, want := range []int{0, 1, 0, 0} {
		made, err := Issue(dir, IssueOptions{Kind: KindClient, Name: "a", Out: filepath.Join(t.TempDir(), "out")})
		if err != nil || len(made.Warnings) != want {
			t.Errorf("after step %d: warnings %v, %v; want %d", i, made.Warnings, err, want)
		}
		step(t, dir, RotateOptions{Finish: true})
	}
}

func TestListsOfBothAuthoritiesCount(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	alice := issued(t, dir, "alice")
	step(t, dir, RotateOptions{})
	step(t, dir, RotateOptions{})
	bob := issued(t, dir, "bob")
	replace(t, filepath.Join(dir, CACertFile), filepath.Join(alice, CACertFile))
	server := openListed(t, dir, nil)
	for _, who := range []string{alice, bob} {
		if !works(t, server.TLS(), clientTLS(t, who)) {
			t.Fatalf("%s is not admitted", filepath.Base(who))
		}
		mustRevoke(t, dir, filepath.Join(who, ClientCertFile))
		if works(t, server.TLS(), clientTLS(t, who)) {
			t.Errorf("%s is admitted after its revocation", filepath.Base(who))
		}
	}
	step(t, dir, RotateOptions{Finish: true})
	if works(t, server.TLS(), clientTLS(t, bob)) || works(t, server.TLS(), clientTLS(t, alice)) {
		t.Error("a revoked client is admitted after the rotation")
	}
	usable(t, dir, "after the rotation")
	for _, report := range server.reports {
		if report != nil {
			t.Errorf("reported %v, want nothing but changes that were taken", report)
		}
	}
}

func TestRetiredAuthorityEndsOpenConnections(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	presented, err := ReadCertificates(filepath.Join(dir, ClientCertFile))
	if err != nil {
		t.Fatal(err)
	}
	clock := newClock(time.Now())
	server := openListed(t, dir, clock.now)
	for range 2 {
		step(t, dir, RotateOptions{})
		clock.advance(checkInterval)
		if err := server.Admits(presented); err != nil {
			t.Errorf("while both are trusted: %v", err)
		}
	}
	step(t, dir, RotateOptions{Finish: true})
	if err := server.Admits(presented); err != nil {
		t.Errorf("the files were looked at twice within %s", checkInterval)
	}
	clock.advance(checkInterval)
	if err := server.Admits(presented); !errors.Is(err, ErrUntrusted) {
		t.Errorf("after the end: %v, want %v", err, ErrUntrusted)
	}
}

func TestAdmissionEndsWithTheCertificate(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	presented, err := ReadCertificates(filepath.Join(dir, ClientCertFile))
	if err != nil {
		t.Fatal(err)
	}
	clock := newClock(time.Now())
	server := openListed(t, dir, clock.now)
	for day, want := range []error{nil, nil, ErrExpired, ErrExpired} {
		if err := server.Admits(presented); !errors.Is(err, want) {
			t.Errorf("day %d: %v, want %v", day*40, err, want)
		}
		clock.advance(40 * 24 * time.Hour)
		if want == nil && day == 1 {
			clock.advance(15 * 24 * time.Hour)
		}
	}
	if server.Admits(nil) == nil {
		t.Error("no client was admitted")
	}
	own, err := ReadCertificates(filepath.Join(dir, ServerCertFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := openListed(t, dir, nil).Admits(own); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a server's certificate as a client's: %v, want %v", err, ErrUntrusted)
	}
}

func TestRotationWithoutTheOldKey(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{KeyType: Ed25519})
	if err := os.Remove(filepath.Join(dir, CAKeyFile)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		step(t, dir, RotateOptions{Finish: true})
		usable(t, dir, "on the way")
	}
	if got := described(t, filepath.Join(dir, CACertFile)).KeyType; got != "Ed25519" {
		t.Errorf("the new authority's key is %s, want the type of the old one's", got)
	}
}

func TestExpiredAuthorityCanBeRotated(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{Days: 10})
	later := func() time.Time { return time.Now().AddDate(0, 0, 20) }
	if _, err := Renew(dir, RenewOptions{Now: later}); !errors.Is(err, ErrExpired) || !strings.Contains(err.Error(), "rotate") {
		t.Errorf("renewal by an expired authority: %v, want %v and to rotate", err, ErrExpired)
	}
	for range 3 {
		step(t, dir, RotateOptions{Finish: true, Now: later})
	}
	if _, _, err := OpenServer(ServerPaths(dir), ServerOptions{Now: later}); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}

func TestInconsistentRotationStateIsRefused(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{
		"rubbish": "{", "unknown authorities": `{"stage":"trusted","old":"a","new":"b"}`, "empty": `{}`,
	} {
		dir := initialized(t, InitOptions{})
		if err := os.WriteFile(filepath.Join(dir, rotationFile), []byte(state), 0o444); err != nil {
			t.Fatal(err)
		}
		before := contents(t, dir)
		for _, do := range []func() error{
			func() error { _, err := RotationStatus(dir); return err },
			func() error { _, err := Rotate(dir, RotateOptions{Finish: true}); return err },
		} {
			if err := do(); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
			}
		}
		if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
			t.Errorf("%s: files changed: %s", name, diff)
		}
	}
}
