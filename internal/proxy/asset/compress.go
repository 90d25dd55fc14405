package asset

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// worthwhile is the largest part of its size, in percent, that a compressed file may have to be used.
const worthwhile = 95

const gzipLevel = 7 // the highest one saves another 1 % in twice the time

// compress returns content in a coding, or nil if that is hardly smaller.
func compress(coding string, content []byte) ([]byte, error) {
	var out []byte
	switch coding {
	case zstdName:
		// The window is at most that of browsers, and one goroutine does each file. The next level saves another 7 % in six times the time.
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(maxSize), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, fmt.Errorf("make a zstd encoder: %w", err)
		}
		out = w.EncodeAll(content, nil)
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("encode as zstd: %w", err)
		}
	case gzipName:
		var buf bytes.Buffer
		w, err := gzip.NewWriterLevel(&buf, gzipLevel)
		if err != nil {
			return nil, fmt.Errorf("make a gzip encoder: %w", err)
		}
		if _, err := w.Write(content); err != nil {
			return nil, fmt.Errorf("encode as gzip: %w", err)
		}
		if err := w.Close(); err != nil {
			return nil, fmt.Errorf("encode as gzip: %w", err)
		}
		out = buf.Bytes()
	default:
		return nil, fmt.Errorf("no coding is named %q", coding)
	}
	if int64(len(out))*100 > int64(len(content))*worthwhile {
		return nil, nil
	}
	return bytes.Clone(out), nil // without the room that growing has left
}
