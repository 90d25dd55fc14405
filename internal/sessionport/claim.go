package sessionport

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"berth/internal/atomicfile"
	"berth/internal/session"
)

// claims say which session each port belongs to. A port is an origin: pages and workers of a session may live on in a browser long
// after the session, so that its port goes to another one only when no port is left that never had a session, the longest
// released first. For the same reason the claims outlive the process.
type claims struct {
	first, last uint16
	byPort      map[uint16]claim
	byID        map[session.ID]uint16
}

type claim struct {
	Session  session.ID `json:"session_id"`
	Released time.Time  `json:"released_at,omitzero"` // zero: the session has it
}

// load reads the claims of a file, of which those outside the range are dropped. No file is no claims; one that cannot be read is an
// error, because its ports would go to others.
func load(file string, first, last uint16) (*claims, error) {
	c := &claims{first: first, last: last, byPort: map[uint16]claim{}, byID: map[session.ID]uint16{}}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c.byPort)
	}
	if err != nil {
		return nil, fmt.Errorf("read which ports sessions have: %w", err)
	}
	maps.DeleteFunc(c.byPort, func(port uint16, _ claim) bool { return port < first || port > last })
	for port, one := range c.byPort {
		if one.Released.IsZero() {
			c.byID[one.Session] = port
		}
	}
	return c, nil
}

func (c *claims) save(file string) error {
	text, err := json.Marshal(c.byPort)
	if err != nil {
		return err
	}
	return atomicfile.Write(file, text, 0o600, "")
}

// claim returns the session's port, a new one if it has none, but for those in except; 0: there is none left. A port whose session
// is not known any more counts as released.
func (c *claims) claim(id session.ID, known func(session.ID) bool, except map[uint16]bool) uint16 {
	if port, ok := c.byID[id]; ok && !except[port] {
		return port
	}
	delete(c.byPort, c.byID[id])
	delete(c.byID, id)
	if port := c.unused(id, except); port != 0 {
		return c.give(port, id)
	}
	var free []uint16
	for port, one := range c.byPort {
		if !except[port] && (!one.Released.IsZero() || !known(one.Session)) {
			free = append(free, port)
		}
	}
	if len(free) == 0 {
		return 0
	}
	oldest := slices.MinFunc(free, func(a, b uint16) int {
		if order := c.byPort[a].Released.Compare(c.byPort[b].Released); order != 0 {
			return order
		}
		return int(a) - int(b)
	})
	delete(c.byID, c.byPort[oldest].Session)
	return c.give(oldest, id)
}

// unused returns a port that never had a session, beginning at a place that the ID decides; 0: there is none.
func (c *claims) unused(id session.ID, except map[uint16]bool) uint16 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(id))
	size := uint32(c.last) - uint32(c.first) + 1
	begin := hash.Sum32() % size
	for i := range size {
		port := c.first + uint16((begin+i)%size)
		if _, used := c.byPort[port]; !used && !except[port] {
			return port
		}
	}
	return 0
}

func (c *claims) give(port uint16, id session.ID) uint16 {
	c.byPort[port], c.byID[id] = claim{Session: id}, port
	return port
}

// release gives the session's port back.
func (c *claims) release(id session.ID, now time.Time) {
	if port, ok := c.byID[id]; ok {
		c.byPort[port] = claim{Session: id, Released: now.UTC().Truncate(time.Second)}
		delete(c.byID, id)
	}
}
