package hostip

import "testing"

func TestIsThisMachine(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]bool{
		"unix:///var/run/docker.sock":     true,
		"tcp://127.0.0.1:2376":            true,
		"tcp://[::1]:2376":                true,
		"tcp://localhost:2376":            true,
		"tcp://host.docker.internal:2376": true,
		"tcp://192.0.2.7:2376":            false,
		"tcp://[2001:db8::7]:2376":        false,
	} {
		if got := IsThisMachine(t.Context(), endpoint); got != want {
			t.Errorf("%s: got %v, want %v", endpoint, got, want)
		}
	}
}
