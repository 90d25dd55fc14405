package origin

import "testing"

func TestDefaultPortsAreTheSameOrigin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		origin, scheme, host string
		want                 bool
	}{
		{"https://b.example", "https", "b.example:443", true},
		{"https://b.example:443", "https", "b.example", true},
		{"http://b.example", "http", "b.example:80", true},
		{"http://b.example", "http", "b.example:443", false},
		{"http://[::1]:8080", "http", "[::1]:8080", true},
		{"", "http", "b.example", false},
		{"http://", "http", "", false},
	} {
		if got := Same(c.origin, c.scheme, c.host); got != c.want {
			t.Errorf("Same(%q, %q, %q): got %v, want %v", c.origin, c.scheme, c.host, got, c.want)
		}
	}
}
