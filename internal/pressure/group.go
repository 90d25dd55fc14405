package pressure

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// groupFiles are the files of a kind of control group for memory.
type groupFiles struct{ limit, usage, cache string }

var (
	groupV1 = groupFiles{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}
	groupV2 = groupFiles{"memory.max", "memory.current", "inactive_file"}
)

// ownGroup is the fraction of its memory limit that this process's control group uses with all its children; of the
// groups around it that have a limit, the fullest counts. It is 0 without a limit below the host's total.
func (h *Host) ownGroup(total uint64) float64 {
	text, err := os.ReadFile(filepath.Join(h.opts.Proc, "self", "cgroup"))
	if err != nil {
		return 0
	}
	fullest := 0.0
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy, controllers, path
		if len(fields) != 3 {
			continue
		}
		root, files := h.opts.Groups, groupV2
		if fields[1] == "memory" {
			root, files = filepath.Join(root, "memory"), groupV1
		} else if fields[1] != "" {
			continue
		}
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			fullest = max(fullest, files.full(filepath.Join(root, filepath.FromSlash(dir)), total))
			if dir == "/" {
				break
			}
		}
	}
	return fullest
}

// full is the used fraction of the group in dir; 0 when it has no limit, or cannot be read.
func (f groupFiles) full(dir string, total uint64) float64 {
	limit, ok := number(filepath.Join(dir, f.limit)) // "max" is no number
	if !ok || limit == 0 || limit >= total {
		return 0
	}
	usage, ok := number(filepath.Join(dir, f.usage))
	if !ok {
		return 0
	}
	return min(float64(usage-min(usage, f.cached(dir)))/float64(limit), 1)
}

// cached is memory that the kernel can reclaim at any time.
func (f groupFiles) cached(dir string) uint64 {
	text, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, f.cache+" "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

func number(file string) (uint64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
