package app

import (
	"os"
	"path/filepath"
	"testing"

	"berth/internal/config"
)

func TestModelSettingsReadKeysWhereTheSettingsSay(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("two words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := modelSettings(config.Models{Default: "a/m", Providers: map[string]config.ModelProvider{
		"a": {Kind: config.KindOpenAI, Key: "given", Models: map[string]config.Model{"m": {Name: "M", Output: 5}}},
		"b": {Kind: config.KindGoogle, KeyFile: file, RemoteURLs: true},
	}})
	if len(s.Providers) != 2 || s.Providers[0].Models["m"].Title != "M" || !s.Providers[1].RemoteURLs || s.Default != "a/m" {
		t.Fatalf("got %+v", s)
	}
	for i, want := range []string{"given", ""} {
		key, err := s.Providers[i].Key()
		if want == "" { // the file has a space in it, and is no key
			if err == nil {
				t.Errorf("provider %d: got a key of a file with none", i)
			}
			continue
		}
		if err != nil || key.Reveal() != want {
			t.Errorf("provider %d: got error %v, want the key %q", i, err, want)
		}
	}
}
