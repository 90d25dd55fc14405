package attach_test

import (
	"regexp"
	"strconv"
	"strings"
)

// screen is what a terminal shows, as far as full-screen programs need it: they place the cursor, write, and erase.
type screen struct {
	cells       [rows][columns]rune
	row, column int
	rest        string // of a sequence whose end has not come
}

var (
	// A control sequence, one for the operating system or the device, or another of two characters (ECMA-48).
	sequence   = regexp.MustCompile(`^\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|P[^\x1b]*\x1b\\|[^\[\]P])`)
	incomplete = regexp.MustCompile(`^\x1b(\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|P[^\x1b]*\x1b?)?$`)
)

// write shows what a program has written.
func (s *screen) write(text string) {
	text = s.rest + text
	s.rest = ""
	for text != "" {
		if found := sequence.FindString(text); found != "" {
			s.obey(found)
			text = text[len(found):]
			continue
		}
		if incomplete.MatchString(text) {
			s.rest = text
			return
		}
		for i, c := range text {
			if i > 0 {
				text = text[i:]
				break
			}
			s.put(c)
			if len(text) == len(string(c)) {
				text = ""
			}
		}
	}
}

func (s *screen) put(c rune) {
	switch {
	case c == '\r':
		s.column = 0
	case c == '\n' && s.row == rows-1: // scroll
		copy(s.cells[:], s.cells[1:])
		s.cells[rows-1] = [columns]rune{}
	case c == '\n':
		s.row++
	case c >= ' ' && s.row < rows && s.column < columns:
		s.cells[s.row][s.column] = c
		s.column++
	}
}

// obey carries out the sequences that place the cursor: CUP and CHA, and ED, which erases.
func (s *screen) obey(sequence string) {
	if !strings.HasPrefix(sequence, "\x1b[") {
		return
	}
	numbers := strings.Split(sequence[2:len(sequence)-1], ";")
	number := func(i int) int {
		if i >= len(numbers) {
			return 0
		}
		n, _ := strconv.Atoi(numbers[i])
		return max(n-1, 0)
	}
	switch sequence[len(sequence)-1] {
	case 'H':
		s.row, s.column = number(0), number(1)
	case 'G':
		s.column = number(0)
	case 'J':
		*s = screen{}
	}
}

// text is what the screen shows, line by line.
func (s *screen) text() string {
	var out strings.Builder
	for _, line := range s.cells {
		out.WriteString(strings.TrimRight(strings.ReplaceAll(string(line[:]), "\x00", " "), " ") + "\n")
	}
	return out.String()
}
