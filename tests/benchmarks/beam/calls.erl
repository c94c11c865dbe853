%% Pairs of gen_servers of which one calls the other, all pairs at once: microseconds per call, calls a second.
-module(calls).
-export([pairs/2]).

pairs(Pairs, Calls) ->
    family:start(),
    All = [{family:start_child(none), family:start_child(none)} || _ <- lists:seq(1, Pairs)],
    run(All, max(1, Calls div 10)),
    Began = erlang:monotonic_time(),
    run(All, Calls),
    Each = family:us(Began) / (Pairs * Calls),
    family:say("{\"call_us\": ~.4f, \"calls_s\": ~.1f}", [Each, 1.0e6 / Each]).

run(All, Calls) ->
    Sent = [gen_server:send_request(A, {talk, B, Calls}) || {A, B} <- All],
    [{reply, ok} = gen_server:wait_response(Id, infinity) || Id <- Sent].
