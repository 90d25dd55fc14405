package record

import (
	"cmp"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"berth/internal/session"
)

// Position is where a session stands in every list. As a cursor it outlives the session that stood there.
type Position struct {
	CreatedAt time.Time
	ID        session.ID
}

// PositionOf returns the place of a session.
func PositionOf(s session.Session) Position { return Position{s.CreatedAt, s.ID} }

// Compare orders places by creation time and then by the bytes of the ID.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.CreatedAt.UnixMicro(), q.CreatedAt.UnixMicro()), cmp.Compare(p.ID, q.ID))
}

// Cursor writes the place as [session.Page].Next.
func (p Position) Cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.CreatedAt.UnixMicro(), 10) + " " + string(p.ID)))
}

// ParseCursor reads what [Position.Cursor] wrote. Anything else is a CodeInvalid error.
func ParseCursor(text string) (Position, error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	created, id, ok := strings.Cut(string(plain), " ")
	micros, errNumber := strconv.ParseInt(created, 10, 64)
	if err != nil || errNumber != nil || !ok {
		return Position{}, session.Errorf(session.CodeInvalid, "this is not the end of a page; begin again from the first page")
	}
	return Position{time.UnixMicro(micros).UTC(), session.ID(id)}, nil
}
