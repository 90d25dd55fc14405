package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Seconds is a duration, read from a number of seconds ("10", "10.0") or a Go duration ("1m30s").
type Seconds time.Duration

// Duration is the same duration as the standard library's type.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// UnmarshalText reads a duration. Negative and overflowing ones are errors.
func (s *Seconds) UnmarshalText(text []byte) error {
	d, err := parseSeconds(string(text))
	if err != nil {
		return err
	}
	*s = Seconds(d)
	return nil
}

func parseSeconds(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, numErr := strconv.ParseFloat(text, 64); numErr == nil {
		if math.IsNaN(n) || math.Abs(n) >= math.MaxInt64/float64(time.Second) {
			return 0, errors.New("must be a number of seconds that fits into 292 years")
		}
		d, err = time.Duration(math.Round(n*1e6))*time.Microsecond, nil
	}
	if err != nil {
		return 0, errors.New("must be a number of seconds like 10.0, or a duration like 1m30s")
	}
	if d < 0 {
		return 0, errors.New("must not be negative")
	}
	return d, nil
}

// MarshalText writes the duration as String does.
func (s Seconds) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the duration as Go does, without zero parts at its end: "5m", "1m30s", "10s".
func (s Seconds) String() string {
	text := time.Duration(s).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// LogLevel is the minimum level that is logged.
type LogLevel slog.Level

// The levels, by the names of the configuration.
const (
	LevelDebug    = LogLevel(slog.LevelDebug)
	LevelInfo     = LogLevel(slog.LevelInfo)
	LevelWarning  = LogLevel(slog.LevelWarn)
	LevelError    = LogLevel(slog.LevelError)
	LevelCritical = LogLevel(slog.LevelError + 4)
)

var levelNames = []struct {
	name  string
	level LogLevel
}{
	{"DEBUG", LevelDebug},
	{"INFO", LevelInfo},
	{"WARNING", LevelWarning},
	{"ERROR", LevelError},
	{"CRITICAL", LevelCritical},
}

// Level is the same level as the standard library's type; CRITICAL is slog.LevelError+4.
func (l LogLevel) Level() slog.Level { return slog.Level(l) }

// UnmarshalText reads a level's name in any case.
func (l *LogLevel) UnmarshalText(text []byte) error {
	for _, n := range levelNames {
		if strings.EqualFold(n.name, string(text)) {
			*l = n.level
			return nil
		}
	}
	return errors.New("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
}

// MarshalText writes the level's name.
func (l LogLevel) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// String writes the level's name.
func (l LogLevel) String() string {
	for _, n := range levelNames {
		if n.level == l {
			return n.name
		}
	}
	return fmt.Sprintf("LogLevel(%d)", int(l))
}
