package model

import "bytes"

// Bounds of what a scanner remembers of a provider's answer.
const (
	scanDepth   = 512
	scanName    = 32       // of a member's name
	scanCapture = 64 << 10 // of a value that is captured
)

// member is one of the names that the count of tokens depends on.
type member uint8

const (
	other member = iota
	memberUsage
	memberUsageMetadata
	memberMessage
	memberResponse
	memberType
	memberFinish
	memberContent // text that the model has written
)

// scanner reads one JSON value in pieces of any size, and keeps only the few members that tell how many tokens were used. Its memory
// is bounded, and it never fails: what is not JSON has none of these members.
type scanner struct {
	content map[string]bool // names of members with text that the model has written

	// What was found.
	kind     string            // "type" of the value
	finished bool              // a "finishReason" that is not null
	found    map[member][]byte // objects with counts: by the member of the value that holds them; other: the value's own
	written  int64             // bytes of text that the model has written

	depth    int
	objects  [scanDepth]bool   // whether what is open at a depth is an object
	members  [scanDepth]member // the member that a depth is in
	name     []byte            // of the string that is read, if it is a name
	inString bool
	isName   bool
	escaped  bool
	expect   bool // the next string in this object is a name
	broken   bool // deeper than any answer

	capturing bool
	into      member
	from      int // depth of the captured value
	captured  []byte
	text      []byte // of a string that is kept
	keeping   bool
}

func newScanner(content ...string) *scanner {
	s := &scanner{content: map[string]bool{}}
	for _, name := range content {
		s.content[name] = true
	}
	s.reset()
	return s
}

// reset prepares for the next value. The bytes of text add up.
func (s *scanner) reset() {
	s.kind, s.finished = "", false
	s.found = nil
	s.depth, s.name, s.inString, s.isName, s.escaped, s.expect, s.broken = 0, s.name[:0], false, false, false, false, false
	s.members[0] = other
	s.capturing, s.keeping = false, false
	s.captured, s.text = s.captured[:0], s.text[:0]
}

// write reads a piece.
func (s *scanner) write(piece []byte) {
	quote := -1 // the next one at or behind i, if that is known
	for i := 0; i < len(piece) && !s.broken; i++ {
		if !s.inString || s.escaped {
			s.step(piece[i])
			continue
		}
		// Most of an answer is the inside of strings.
		if quote < i {
			if quote = bytes.IndexByte(piece[i:], '"'); quote < 0 {
				quote = len(piece)
			} else {
				quote += i
			}
		}
		end := quote
		if escape := bytes.IndexByte(piece[i:quote], '\\'); escape >= 0 {
			end = i + escape
		}
		if end > i {
			s.inside(piece[i:end])
			i = end - 1
			continue
		}
		s.step(piece[i])
	}
}

// inside reads a part of a string that has neither an escape nor its end.
func (s *scanner) inside(part []byte) {
	if s.capturing {
		s.capture(part...)
	}
	switch {
	case s.isName:
		s.name = appendUpTo(s.name, part, scanName)
	case s.keeping:
		s.text = appendUpTo(s.text, part, scanName)
	}
	s.count(len(part))
}

// count counts what the model has written.
func (s *scanner) count(n int) {
	if !s.isName && s.members[min(s.depth, scanDepth-1)] == memberContent {
		s.written += int64(n)
	}
}

func appendUpTo(to, part []byte, most int) []byte {
	return append(to, part[:min(len(part), most-len(to))]...)
}

func (s *scanner) capture(part ...byte) {
	if len(s.captured)+len(part) > scanCapture {
		s.capturing, s.captured = false, s.captured[:0]
		return
	}
	s.captured = append(s.captured, part...)
}

// step reads one byte.
func (s *scanner) step(b byte) {
	if s.capturing {
		s.capture(b)
	}
	switch {
	case s.escaped:
		s.escaped = false
		s.count(1)
		if s.isName { // no name that counts has an escape
			s.name = append(s.name[:0], '\\')
		}
	case s.inString && b == '\\':
		s.escaped = true
	case s.inString: // its end
		s.inString = false
		s.endString()
	case b == '"':
		s.inString, s.isName, s.keeping = true, s.expect, false
		s.expect = false
		if s.isName {
			s.name = s.name[:0]
		} else {
			s.beginValue(b)
		}
	case b == '{' || b == '[':
		s.beginValue(b)
		s.depth++
		if s.depth >= scanDepth {
			s.broken = true
			return
		}
		s.objects[s.depth], s.members[s.depth] = b == '{', other
		s.expect = b == '{'
	case b == '}' || b == ']':
		s.endContainer()
	case b == ',':
		s.expect = s.objects[s.depth] && s.depth > 0
	case b == ' ' || b == '\t' || b == '\r' || b == '\n' || b == ':':
	default:
		s.beginValue(b)
	}
}

// endString takes note of a name, or of the text of a string.
func (s *scanner) endString() {
	switch {
	case s.isName:
		s.members[s.depth] = s.memberOf(string(s.name))
	case s.keeping:
		s.kind = string(s.text)
	}
	s.isName, s.keeping = false, false
}

func (s *scanner) memberOf(name string) member {
	switch name {
	case "usage":
		return memberUsage
	case "usageMetadata":
		return memberUsageMetadata
	case "message":
		return memberMessage
	case "response":
		return memberResponse
	case "type":
		return memberType
	case "finishReason":
		return memberFinish
	}
	if s.content[name] {
		return memberContent
	}
	return other
}

// beginValue takes note of the first byte of a value.
func (s *scanner) beginValue(b byte) {
	switch in := s.members[s.depth]; {
	case in == memberFinish && b == '"':
		s.finished = true
	case in == memberType && s.depth == 1 && b == '"':
		s.keeping, s.text = true, s.text[:0]
	case (in == memberUsage || in == memberUsageMetadata) && b == '{' && !s.capturing:
		switch {
		case s.depth == 1:
			s.into = other
		case s.depth == 2 && (s.members[1] == memberMessage || s.members[1] == memberResponse):
			s.into = s.members[1]
		default:
			return
		}
		s.capturing, s.from = true, s.depth
		s.captured = append(s.captured[:0], b)
	}
}

// endContainer takes note of the end of an object or list.
func (s *scanner) endContainer() {
	if s.depth == 0 {
		return
	}
	s.depth--
	s.expect = false
	if s.capturing && s.depth == s.from {
		s.capturing = false
		if s.found == nil {
			s.found = map[member][]byte{}
		}
		s.found[s.into] = bytes.Clone(s.captured)
	}
}
