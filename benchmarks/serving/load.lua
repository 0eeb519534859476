-- For wrk: POST the lines of a file as bodies, one after the other, and count the answers that are no good answers.
--     wrk ... -s load.lua URL -- FILE
local bodies = {}
local at = 0
bad = 0
bytes = 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  wrk.headers["Content-Type"] = "application/json"
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = wrk.format("POST", nil, nil, line)
  end
  -- Rounds must not all begin with the same questions.
  math.randomseed(tonumber(args[2]))
  at = math.random(#bodies)
end

function request()
  at = at % #bodies + 1
  return bodies[at]
end

function response(status, headers, body)
  bytes = bytes + #body
  if status ~= 200 or body:find('"errors"', 1, true) or not body:find('"data"', 1, true) then
    bad = bad + 1
  end
end

function done(summary, latency, requests)
  local failed, size = 0, 0
  for _, thread in ipairs(threads) do
    failed = failed + thread:get("bad")
    size = size + thread:get("bytes")
  end
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '\nRESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "failed": %d, "lost": %d, "bytes": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), failed, lost, size
  ))
end
