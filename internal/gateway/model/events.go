package model

import "bytes"

// events reads a stream of server-sent events in pieces of any size. The content of an event is given to data in the pieces in
// which it arrives, and end is called behind it. Its memory is bounded, however long an event is.
type events struct {
	data func(piece []byte)
	end  func()

	field  []byte // name of the line's field, as far as it can be "data"
	inData bool   // in the value of a data field
	skip   bool   // in the value of another one
	space  bool   // a space directly behind the colon does not belong to the value
	any    bool   // the event has data
	cr     bool   // the last byte was a carriage return: a line feed belongs to it
}

// maxField is the longest name of a field that counts.
const maxField = 5

// write reads a piece.
func (e *events) write(piece []byte) {
	for i := 0; i < len(piece); i++ {
		b := piece[i]
		if e.cr {
			e.cr = false
			if b == '\n' {
				continue
			}
		}
		switch {
		case b == '\n' || b == '\r':
			e.cr = b == '\r'
			e.endLine()
		case e.skip:
		case e.inData:
			if e.space && b == ' ' {
				e.space = false
				continue
			}
			e.space = false
			end := bytes.IndexByte(piece[i:], '\n')
			if end < 0 {
				end = len(piece) - i
			}
			if cr := bytes.IndexByte(piece[i:i+end], '\r'); cr >= 0 {
				end = cr
			}
			e.data(piece[i : i+end])
			i += end - 1
		case b == ':':
			e.begin()
		case len(e.field) < maxField:
			e.field = append(e.field, b)
		}
	}
}

// begin begins the value of the line's field.
func (e *events) begin() {
	if string(e.field) != "data" {
		e.skip = true
		return
	}
	if e.any {
		e.data([]byte("\n"))
	}
	e.inData, e.space, e.any = true, true, true
}

func (e *events) endLine() {
	empty := len(e.field) == 0 && !e.inData && !e.skip
	e.field, e.inData, e.skip, e.space = e.field[:0], false, false, false
	if empty && e.any {
		e.any = false
		e.end()
	}
}
