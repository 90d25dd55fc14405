package server

// ownRequests is the number of requests that a connection may have at once however many other connections have.
const ownRequests = 16

// enter counts a request of a connection. It reports false if the request must not be served.
//
// Over HTTP/1.1 there are as many requests as connections at most. Over HTTP/2 a client could have a multiple of that, each with
// its header and its handler in memory, and read none of the responses. So there are no more than most requests that do not hold
// their connection: at the limit the connection with the most of them is closed, or, if that is the connection of the request
// itself, the request is refused.
func (c *connections) enter(mine *connection, most int) bool {
	for c.others.Load() >= int64(most) {
		own := mine.requests()
		busiest := c.busiest(max(own, 1))
		if busiest == nil {
			if own >= ownRequests {
				return false
			}
			break
		}
		c.drop(busiest)
	}
	mine.mu.Lock()
	defer mine.mu.Unlock()
	if mine.gone {
		return false
	}
	mine.others++
	c.others.Add(1)
	return true
}

// leave ends a request that enter has counted, or begins to hold its connection.
func (c *connections) leave(mine *connection) {
	mine.mu.Lock()
	defer mine.mu.Unlock()
	if !mine.gone {
		mine.others--
		c.others.Add(-1)
	}
}

// requests returns the number of the connection's requests during which it may be closed.
func (c *connection) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.others
}

// busiest returns the connection with the most requests during which it may be closed, if they are more than least; nil if there
// is none. Connections that are held are none.
func (c *connections) busiest(least int) (found *connection) {
	for one := range c.all() {
		one.mu.Lock()
		others, held := one.others, one.held
		one.mu.Unlock()
		if held == 0 && others > least {
			found, least = one, others
		}
	}
	return found
}

// drop closes a connection, and counts its requests no longer: their handlers return soon after.
func (c *connections) drop(one *connection) {
	c.open.Delete(one.Conn)
	one.mu.Lock()
	if !one.gone {
		one.gone = true
		c.others.Add(-int64(one.others))
	}
	one.mu.Unlock()
	one.shut()
}
