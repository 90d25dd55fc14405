package telemetry

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// PriorityError is the prefix of an error line, which systemd's journal removes; see sd-daemon(3).
const PriorityError = "<3>"

// priorities maps the levels' names to prefixes.
var priorities = map[string]string{
	"CRITICAL": "<2>", "ERROR": PriorityError, "WARNING": "<4>", "INFO": "<6>", "DEBUG": "<7>",
}

// withPriority puts the priority of an entry before each of its lines: the journal makes an entry of each.
func withPriority(encode encoder) encoder {
	return func(dst []byte, e entry) []byte {
		begin := len(dst)
		dst = encode(dst, e)
		priority := priorities[e.level]
		lines := strings.TrimSuffix(string(dst[begin:]), "\n")
		return append(append(dst[:begin], priority+strings.ReplaceAll(lines, "\n", "\n"+priority)...), '\n')
	}
}

// IsJournal reports whether w is a stream to systemd's journal. stream is the variable JOURNAL_STREAM, which systemd sets to
// device and inode of its stream: a stream that a shell has redirected since has others.
func IsJournal(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
