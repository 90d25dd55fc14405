package asset

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// key finds a file in one coding by its content before that.
type key struct {
	content [sha256.Size]byte
	coding  string
}

// entryOverhead is what an entry needs beside its bytes, about.
const entryOverhead = 256

type entry struct {
	key  key
	data []byte // nil: the coding does not make the content smaller
}

func (e entry) size() int64 { return int64(len(e.data)) + entryOverhead }

// store keeps what was used last, up to a number of bytes.
type store struct {
	limit int64

	mu      sync.Mutex
	size    int64
	entries map[key]*list.Element
	order   list.List // of entry; the front was used last
}

// get returns the bytes of an entry, and whether there is one.
func (s *store) get(k key) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	element, ok := s.entries[k]
	if !ok {
		return nil, false
	}
	s.order.MoveToFront(element)
	e, _ := element.Value.(entry)
	return e.data, true
}

// put adds an entry, which must not be changed afterwards, and removes those that were not used for longest.
func (s *store) put(e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[e.key]; ok || e.size() > s.limit {
		return
	}
	if s.entries == nil {
		s.entries = map[key]*list.Element{}
	}
	s.entries[e.key] = s.order.PushFront(e)
	s.size += e.size()
	for s.size > s.limit {
		last := s.order.Back()
		old, _ := s.order.Remove(last).(entry)
		delete(s.entries, old.key)
		s.size -= old.size()
	}
}
