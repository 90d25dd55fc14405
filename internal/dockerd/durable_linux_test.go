package dockerd

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestJournalIsSyncedBeforeChange: a crash of the machine must not keep a change and lose the journal that announced it, so
// the directory is synced once the journal has its name. Of that, opening the directory is what can be seen from outside.
func TestJournalIsSyncedBeforeChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Skipf("this system has no file notification: %v", err)
	}
	events := os.NewFile(uintptr(watch), "inotify")
	t.Cleanup(func() { events.Close() })
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_MOVED_TO|unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	if err := (&journal{Version: journalVersion}).save(filepath.Join(dir, "journal")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64<<10)
	n, err := events.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	named, synced := false, false
	for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
		mask, length := binary.NativeEndian.Uint32(rest[4:]), int(binary.NativeEndian.Uint32(rest[12:]))
		name := strings.TrimRight(string(rest[unix.SizeofInotifyEvent:][:length]), "\x00")
		named = named || mask&unix.IN_MOVED_TO != 0 && name == "journal"
		synced = synced || named && mask&unix.IN_OPEN != 0 && mask&unix.IN_ISDIR != 0
		rest = rest[unix.SizeofInotifyEvent+length:]
	}
	if !named || !synced {
		t.Errorf("the journal has its name: %v; its directory is opened after that: %v; want both", named, synced)
	}
}
