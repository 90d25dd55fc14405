package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"berth/internal/session"
)

// place identifies the state directory, and differs for every copy of it.
func (d Dir) place() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil { // not Linux
		host, _ := os.Hostname()
		boot = []byte(host)
	}
	info, err := os.Stat(string(d))
	if err != nil {
		return "", fmt.Errorf("look at the state directory: %w", err)
	}
	at, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("look at the state directory: its inode is not known")
	}
	return fmt.Sprintf("directory:%s/%d/%d", strings.TrimSpace(string(boot)), at.Dev, at.Ino), nil
}

// Processes returns the directory of the process runtime. It is an error if the state directory is a copy of another one, to
// which the processes belong. A moved directory is accepted.
func (d Dir) Processes() (string, error) {
	return d.path(processDir), d.notACopy()
}

func (d Dir) notACopy() error {
	place, err := d.place()
	if err != nil {
		return err
	}
	path, err := filepath.Abs(string(d))
	if err != nil {
		return fmt.Errorf("find the state directory: %w", err)
	}
	known, err := d.peek(placeFile)
	if err != nil {
		return err
	}
	if before, original, ok := strings.Cut(known, " "); ok && before != place {
		if there, err := Dir(original).place(); err == nil && there == before {
			return session.Errorf(session.CodeConflict, "%s is a copy of %s, to which the processes of its sessions belong: "+
				"two Berths must not share them. Start with an empty BERTH_STATE_DIR, or remove the original", path, original)
		}
	}
	return d.put(placeFile, place+" "+path)
}
