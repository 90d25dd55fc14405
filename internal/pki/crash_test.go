package pki

import (
	"path/filepath"
	"testing"

	"berth/internal/pin"
)

func TestRenewSurvivesCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	crashAtEveryStep(t, 12, func(t *testing.T) string { return initialized(t, InitOptions{}) },
		func(dir string, before hook) error {
			_, err := Renew(dir, RenewOptions{Force: true, before: before})
			return err
		},
		func(*testing.T, string, string) {})
}

func TestRevokeSurvivesCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	serial := "aa55"
	crashAtEveryStep(t, 6, func(t *testing.T) string { return initialized(t, InitOptions{}) },
		func(dir string, before hook) error {
			_, err := Revoke(dir, serial, RevokeOptions{Force: true, before: before})
			return err
		},
		func(t *testing.T, dir, step string) {
			all, err := ReadCertificates(filepath.Join(dir, CACertFile))
			if err != nil {
				t.Fatal(err)
			}
			lists, err := readRevocations(filepath.Join(dir, CACertFile), all)
			if err != nil || len(lists) != 1 || len(lists[pin.Of(all[0])].RevokedCertificateEntries) != 1 {
				t.Errorf("after a crash before %q the list is %v, %v; want the one entry", step, lists, err)
			}
		})
}

func TestIssueSurvivesCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	outs := map[string]string{}
	crashAtEveryStep(t, 15, func(t *testing.T) string {
		dir := initialized(t, InitOptions{})
		outs[dir] = filepath.Join(t.TempDir(), "out")
		return dir
	}, func(dir string, before hook) error {
		_, err := Issue(dir, IssueOptions{Kind: KindClient, Name: "alice", Out: outs[dir], Force: true, before: before})
		return err
	}, func(t *testing.T, dir, step string) {
		if !works(t, serverTLS(t, dir), clientTLS(t, outs[dir])) {
			t.Errorf("the client that was issued after a crash before %q is not admitted", step)
		}
		entry := described(t, filepath.Join(outs[dir], ClientCertFile))
		if result, err := Revoke(dir, entry.Serial, RevokeOptions{}); err != nil || result.Outcome != Created {
			t.Errorf("the client that was issued after a crash before %q is not recorded: %v", step, err)
		}
	})
}

// Every step of a rotation is interrupted at each of its writes. The next run completes the interrupted step and starts no
// further one: a repetition after a crash must not shorten the time that clients have.
func TestRotateSurvivesCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		done    int // steps before
		from    Stage
		to      Stage
		atLeast int
	}{
		{"trust the new one", 0, StageNone, StageTrusted, 10},
		{"reissue", 1, StageTrusted, StageReissued, 20},
		{"retire the old one", 2, StageReissued, StageNone, 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			authorities := map[string]string{}
			crashAtEveryStep(t, tt.atLeast, func(t *testing.T) string {
				dir := initialized(t, InitOptions{})
				for range tt.done {
					if _, err := Rotate(dir, RotateOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				authorities[dir] = described(t, filepath.Join(dir, CACertFile)).FingerprintSHA256
				return dir
			}, func(dir string, before hook) error {
				_, err := Rotate(dir, RotateOptions{Finish: true, before: before})
				return err
			}, func(t *testing.T, dir, step string) {
				at, err := RotationStatus(dir)
				if err != nil || at.Stage != tt.to {
					t.Errorf("after a crash before %q the rotation stands at %q, %v; want %q", step, at.Stage, err, tt.to)
				}
				first := described(t, filepath.Join(dir, CACertFile)).FingerprintSHA256
				if retired := first != authorities[dir]; retired != (tt.to == StageNone) {
					t.Errorf("after a crash before %q the old authority is missing: %v", step, retired)
				}
			})
		})
	}
}
