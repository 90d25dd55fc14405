package asset

import "testing"

func TestAcceptedCoding(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"gzip, deflate, br, zstd"}, "zstd"},
		{[]string{"gzip, deflate, br"}, "gzip"},
		{[]string{"br", "x-gzip"}, "gzip"},
		{[]string{"GZIP ; q=1"}, "gzip"},
		{[]string{"zstd;q=0.5, gzip;q=0.8"}, "gzip"},
		{[]string{"zstd;q=0, gzip"}, "gzip"},
		{[]string{"zstd;q=0, gzip;q=0.0"}, ""},
		{[]string{"*"}, "zstd"},
		{[]string{"*, zstd;q=0"}, "gzip"},
		{[]string{"*;q=0"}, ""},
		{[]string{"identity, gzip;q=0.5"}, ""},
		{[]string{"identity, gzip"}, "gzip"},
		{[]string{"identity;q=0.2, gzip;q=0.5"}, "gzip"},
		{[]string{"identity;q=0, gzip"}, "gzip"},
		{[]string{"gzip;q=x"}, ""},
		{[]string{"gzip;q=2"}, ""},
		{[]string{"gzip;q=-1"}, ""},
		{[]string{"gzip;q=NaN"}, ""},
		{[]string{"gzip;v=1"}, ""},
		{[]string{"gzip;q=0, gzip"}, ""},
		{[]string{"gzipped, zstdx"}, ""},
	} {
		if got := accepted(c.values); got != c.want {
			t.Errorf("Accept-Encoding %q: got %q, want %q", c.values, got, c.want)
		}
	}
}
