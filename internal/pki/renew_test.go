package pki

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRenewWaitsForTwoThirdsOfLife(t *testing.T) {
	t.Parallel()
	for day, want := range map[int]int{0: 0, 59: 0, 61: 2, 200: 2} {
		dir := initialized(t, InitOptions{})
		before := contents(t, dir)
		now := func() time.Time { return time.Now().AddDate(0, 0, day) }
		result, err := Renew(dir, RenewOptions{Now: now})
		if err != nil || len(result.Renewed) != want || len(result.Kept) != 2-want {
			t.Errorf("day %d: renewed %d, kept %d, %v; want %d renewed", day, len(result.Renewed), len(result.Kept), err, want)
		}
		if want == 0 {
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Errorf("day %d: nothing was due, and files changed: %s", day, diff)
			}
			continue
		}
		if again, err := Renew(dir, RenewOptions{Now: now}); err != nil || len(again.Renewed) != 0 {
			t.Errorf("day %d, second run: renewed %d, %v; want none", day, len(again.Renewed), err)
		}
	}
}

func TestRenewalKeepsSubjectNamesAndUsage(t *testing.T) {
	t.Parallel()
	for _, keyType := range []KeyType{ECDSA, Ed25519} {
		dir := initialized(t, InitOptions{Hosts: []string{"engine.example", "192.0.2.9"}, Days: 20, KeyType: keyType, ClientName: "serve"})
		for _, name := range []string{ServerCertFile, ClientCertFile} {
			path := filepath.Join(dir, name)
			before := described(t, path)
			if _, err := Renew(dir, RenewOptions{Force: true, Now: func() time.Time { return time.Now().Add(time.Hour) }}); err != nil {
				t.Fatal(err)
			}
			after := described(t, path)
			if after.Serial == before.Serial || after.FingerprintSHA256 == before.FingerprintSHA256 || after.Pin == before.Pin {
				t.Errorf("%s: serial number, fingerprint or key are the old ones", name)
			}
			for _, d := range []*Description{&before, &after} {
				d.Serial, d.FingerprintSHA256, d.Pin, d.NotBefore, d.NotAfter = "", "", "", time.Time{}, time.Time{}
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%s (-before +after): %s", name, diff)
			}
		}
	}
}

func TestRenewedCertificateLifetimes(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	at := func(day int) func() time.Time { return func() time.Time { return now.AddDate(0, 0, day) } }
	for _, tt := range []struct {
		name           string
		made, asked    int
		day, want, say int // say: warnings
	}{
		{"default", 0, 0, 61, 61 + DefaultLeafDays, 0},
		{"as long as before", 30, 0, 1, 30, 2}, // no longer than its authority
		{"as long as asked", 0, 10, 61, 71, 0},
		{"longer than others accept", 0, 1000, 61, 1061, 2},
	} {
		dir := initialized(t, InitOptions{Days: tt.made, Now: at(0)})
		result, err := Renew(dir, RenewOptions{Force: true, Days: tt.asked, Now: at(tt.day)})
		if err != nil {
			t.Fatal(err)
		}
		for _, made := range result.Renewed {
			if want := now.AddDate(0, 0, tt.want); !made.NotAfter.Equal(want) {
				t.Errorf("%s: %s ends on %s, want %s", tt.name, made.Path, made.NotAfter, want)
			}
		}
		if len(result.Warnings) != tt.say {
			t.Errorf("%s: warnings %v, want %d", tt.name, result.Warnings, tt.say)
		}
	}
}

func TestReplacedCertificateCanBeRevoked(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	old := copied(t, dir)
	if _, err := Renew(dir, RenewOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	server := serverTLS(t, dir)
	if !works(t, server, clientTLS(t, old)) {
		t.Error("a replaced certificate is refused before its end")
	}
	mustRevoke(t, dir, described(t, filepath.Join(old, ClientCertFile)).FingerprintSHA256)
	if works(t, server, clientTLS(t, old)) {
		t.Error("the replaced certificate is admitted after its revocation")
	}
	usable(t, dir, "after the revocation")
}

func TestFilesWithDockerNamesAreRenewed(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	replace(t, filepath.Join(dir, ClientCertFile), filepath.Join(dir, DockerCertFile))
	replace(t, filepath.Join(dir, ClientKeyFile), filepath.Join(dir, DockerKeyFile))
	result, err := Renew(dir, RenewOptions{Force: true})
	if err != nil || len(result.Renewed) != 3 {
		t.Fatalf("renewed %d, %v; want all three", len(result.Renewed), err)
	}
	if _, err := readPair(filepath.Join(dir, DockerCertFile), filepath.Join(dir, DockerKeyFile), time.Now()); err != nil {
		t.Error(err)
	}
}

func TestRenewReportsMissingFiles(t *testing.T) {
	t.Parallel()
	if _, err := Renew(t.TempDir(), RenewOptions{}); !errors.Is(err, ErrMissing) {
		t.Errorf("empty directory: %v, want %v", err, ErrMissing)
	}
	bundled := issued(t, initialized(t, InitOptions{}), "alice")
	if _, err := Renew(bundled, RenewOptions{}); err != nil {
		t.Errorf("nothing due without the authority's key: %v, want none needed", err)
	}
	if _, err := Renew(bundled, RenewOptions{Force: true}); !errors.Is(err, ErrMissing) {
		t.Errorf("without the authority's key: %v, want %v", err, ErrMissing)
	}
}

func TestIssueRefusesInvalidOptions(t *testing.T) {
	t.Parallel()
	out := func() string { return filepath.Join(t.TempDir(), "out") }
	for name, opts := range map[string]IssueOptions{
		"no kind":            {Name: "a", Out: out()},
		"an authority":       {Kind: KindCA, Name: "a", Out: out()},
		"client, no name":    {Kind: KindClient, Out: out()},
		"client with a host": {Kind: KindClient, Name: "a", Hosts: []string{"h"}, Out: out()},
		"control characters": {Kind: KindClient, Name: "a\x1b[2J", Out: out()},
		"a long name":        {Kind: KindClient, Name: string(make([]byte, 65)), Out: out()},
		"no place":           {Kind: KindClient, Name: "a"},
		"server, no host":    {Kind: KindServer, Environment: Production, Out: out()},
		"too long a life":    {Kind: KindClient, Name: "a", Out: out(), Days: maxDays + 1},
	} {
		if _, err := Issue(t.TempDir(), opts); err == nil {
			t.Errorf("%s was accepted", name)
		}
		if opts.Out != "" && exists(opts.Out) {
			t.Errorf("%s left a directory behind", name)
		}
	}
}
