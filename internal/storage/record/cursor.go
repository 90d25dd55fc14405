package record

import (
	"cmp"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"berth/internal/session"
)

// Position is the position of a session in every list. As a cursor it stays valid after the session was deleted.
type Position struct {
	CreatedAt time.Time
	ID        session.ID
}

// PositionOf returns the position of a session.
func PositionOf(s session.Session) Position { return Position{s.CreatedAt, s.ID} }

// Compare orders positions by creation time and then by the bytes of the ID.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.CreatedAt.UnixMicro(), q.CreatedAt.UnixMicro()), cmp.Compare(p.ID, q.ID))
}

// Cursor encodes the position as [session.Page].Next.
func (p Position) Cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.CreatedAt.UnixMicro(), 10) + " " + string(p.ID)))
}

// ParseCursor decodes a [Position.Cursor]. Anything else is a CodeInvalid error.
func ParseCursor(text string) (Position, error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	created, id, ok := strings.Cut(string(plain), " ")
	micros, errNumber := strconv.ParseInt(created, 10, 64)
	if err != nil || errNumber != nil || !ok {
		return Position{}, session.Errorf(session.CodeInvalid, "this is not a valid cursor; start again from the first page")
	}
	return Position{time.UnixMicro(micros).UTC(), session.ID(id)}, nil
}
