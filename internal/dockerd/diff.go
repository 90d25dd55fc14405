package dockerd

import (
	"bytes"
	"regexp"

	"github.com/rogpeppe/go-internal/diff"
)

// secrets matches what may be secret in daemon.json: passwords in the addresses of proxies, and values of options with
// telling names.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(://)[^/@\s"]+(@)`),
	regexp.MustCompile(`(?i)("[^"]*(?:token|secret|password|passwd|access-key)[^"]*"\s*:\s*")(?:[^"\\]|\\.)*(")`),
}

// unified is the difference between two versions of a file as people read it; empty when there is none.
func unified(path string, old, fresh []byte) string {
	text := diff.Diff(path, mask(old), path+" (new)", mask(fresh))
	// The first line repeats the names.
	_, text, _ = bytes.Cut(text, []byte("\n"))
	return string(text)
}

func mask(text []byte) []byte {
	for _, s := range secrets {
		text = s.ReplaceAll(text, []byte("${1}[redacted]${2}"))
	}
	return text
}
