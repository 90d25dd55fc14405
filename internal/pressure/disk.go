package pressure

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How full a disk may be. A fraction alone would raise an alert for the last 300 GiB of a large disk, and a number of bytes
// alone for every small one: both have to hold.
const (
	DiskWarning  = 0.90
	DiskCritical = 0.97

	diskWarningLeft  = 20 << 30 // bytes
	diskCriticalLeft = 5 << 30
	inodesLeft       = 100_000

	diskInterval = 10 * time.Second // between two looks
	diskStale    = time.Minute      // how old a sample may be; a network file system may not answer
)

// Space is one sample of the file system of a directory.
type Space struct {
	Free uint64  // bytes that an ordinary user may take
	Used float64 // fraction in use, 0 to 1: of the bytes or of the inodes, whichever is more
	// Level is the level of this sample.
	Level Level
}

// SpaceAt samples the file system of a directory.
func SpaceAt(path string) (Space, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return Space{}, fmt.Errorf("look at the disk of %s: %w", path, err)
	}
	free := fs.Bavail * uint64(fs.Bsize)
	used := fs.Blocks - fs.Bfree                     // without what only root may take
	s := Space{Free: free, Used: 1, Level: Critical} // of no blocks at all
	if used+fs.Bavail > 0 {
		s.Used = float64(used) / float64(used+fs.Bavail)
		s.Level = levelOf(s.Used, free, diskWarningLeft, diskCriticalLeft)
	}
	if fs.Files > 0 { // else it makes inodes as they are needed
		inodes := 1 - float64(fs.Ffree)/float64(fs.Files)
		s.Used, s.Level = max(s.Used, inodes), max(s.Level, levelOf(inodes, fs.Ffree, inodesLeft, inodesLeft))
	}
	return s, nil
}

func levelOf(used float64, left, warning, critical uint64) Level {
	switch {
	case used >= DiskCritical && left < critical:
		return Critical
	case used >= DiskWarning && left < warning:
		return Warning
	}
	return OK
}

// Disk is a directory; its file system is watched.
type Disk struct {
	Name string // for people and programs, such as "engine"
	Path string // empty: it cannot be seen from here, and is Unknown
}

// DiskState is the newest sample of a disk.
type DiskState struct {
	Disk
	Space           // of an Unknown one the last that was seen
	Since time.Time // of the level
	At    time.Time // of the look; zero: none has succeeded
}

// DiskMonitor watches disks. Make it with [NewDiskMonitor]; [DiskMonitor.Run] must be running for it to know anything. It
// is safe for concurrent use.
type DiskMonitor struct {
	onChange func(before Level, now DiskState)
	look     func(path string) (Space, error)

	mu    sync.Mutex
	disks []DiskState
}

// NewDiskMonitor starts nothing. onChange is called once for each change of a level and must not block.
func NewDiskMonitor(disks []Disk, onChange func(before Level, now DiskState)) *DiskMonitor {
	m := &DiskMonitor{onChange: onChange, look: SpaceAt}
	for _, d := range disks {
		m.disks = append(m.disks, DiskState{Disk: d, Space: Space{Level: Unknown}})
	}
	return m
}

// Run samples the disks until ctx ends, and returns nil then. It does not wait for a file system that does not answer.
func (m *DiskMonitor) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for i := range m.disks {
		if path := m.disks[i].Path; path != "" {
			all.Go(func() { m.watch(ctx, i, path) })
		}
	}
	all.Wait()
	return nil
}

func (m *DiskMonitor) watch(ctx context.Context, i int, path string) {
	tick := time.NewTicker(diskInterval)
	defer tick.Stop()
	type seen struct {
		space Space
		err   error
	}
	answer := make(chan seen, 1)
	waiting := false
	for {
		if !waiting {
			waiting = true
			go func() {
				space, err := m.look(path)
				answer <- seen{space, err}
			}()
		}
		select {
		case s := <-answer:
			waiting = false
			m.take(i, s.space, s.err)
		case <-ctx.Done():
			return
		case <-tick.C:
			m.take(i, Space{}, context.DeadlineExceeded)
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// take records a sample. After a failed one, the previous sample holds until it is too old.
func (m *DiskMonitor) take(i int, space Space, err error) {
	m.mu.Lock()
	d, now := &m.disks[i], time.Now()
	before := d.Level
	if err == nil {
		d.Space, d.At = space, now
	} else if now.Sub(d.At) > diskStale {
		d.Level = Unknown
	}
	changed := d.Level != before
	if changed {
		d.Since = now
	}
	state := *d
	m.mu.Unlock()
	if changed {
		m.onChange(before, state)
	}
}

// Snapshot is what is known of each disk, in the order in which they were given.
func (m *DiskMonitor) Snapshot() []DiskState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]DiskState(nil), m.disks...)
}
