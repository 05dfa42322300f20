"""Latency and throughput of a policy server under 64 clients at a time, batched and one by one.

    python benchmarks/serving.py [--clients 64] [--seconds 5]

starts a server in a process of its own for each row, and asks it for actions over as many
connections, each waiting for its answer before it asks again, from an asyncio load generator that
costs little beside the server. Two policies: a DQN for CartPole (64-64 units), and one that only
takes 5 ms, whatever the batch. Prints a table and one JSON line.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time

import numpy as np

_POLICIES = ("cartpole", "sleep")
_LINE = (
    "{policy:>9}, batches of at most {max_batch_size:>2}: {requests_per_second:>7.0f} requests/s, "
    "median {p50_ms:.1f} ms, "
    "99th percentile {p99_ms:.1f} ms, mean batch {batch_size_mean}"
)
_OBSERVATION = b'{"observation": [0.01, -0.02, 0.03, 0.04]}'


def main() -> None:
    parser = argparse.ArgumentParser(description="A policy server under many clients.")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--serve", nargs=2, metavar=("POLICY", "BATCH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve[0], int(arguments.serve[1]))
        return
    rows = []
    for policy in _POLICIES:
        for batch in (1, 64):
            rows.append(
                {"policy": policy, "max_batch_size": batch} | measure(policy, batch, arguments)
            )
            print(_LINE.format(**rows[-1]), flush=True)
    gains = {
        p: round(rows[2 * i + 1]["requests_per_second"] / rows[2 * i]["requests_per_second"], 2)
        for i, p in enumerate(_POLICIES)
    }
    print(
        json.dumps(
            {
                "clients": arguments.clients,
                "rows": rows,
                "throughput_gain": gains,
                "cpus": len(os.sched_getaffinity(0)),
            }
        )
    )


def serve(policy: str, max_batch_size: int) -> None:
    """The server's process: prints its address, and serves until it is told to end."""
    import jax
    import optax

    from jax_agents import agents, networks, serving
    from jax_agents.envs import classic
    from jax_agents.envs.types import PolicyStep

    def sleeping(params, requests):
        time.sleep(0.005)
        return PolicyStep(np.zeros(len(requests.step), np.int32))

    specs = classic.CartPole().specs
    agent = agents.DqnAgent(specs, networks.QNetwork(2, hidden=(64, 64)), optax.adam(1e-3))
    act = sleeping if policy == "sleep" else None
    service = serving.PolicyService(
        agent, agent.init(jax.random.key(0)), max_batch_size=max_batch_size, act=act
    )
    serving.run_server(service, port=0, on_listening=lambda address: print(address, flush=True))


def measure(policy: str, max_batch_size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Requests per second and latencies of one server."""
    command = [sys.executable, __file__, "--serve", policy, str(max_batch_size)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        host, port = server.stdout.readline().strip().removeprefix("http://").split(":")
        return asyncio.run(load(host, int(port), arguments.clients, arguments.seconds))
    finally:
        server.terminate()
        server.wait(30)


async def load(host: str, port: int, clients: int, seconds: float) -> dict[str, float]:
    """Asks for actions over `clients` connections, one second to warm up and then `seconds` that
    count.
    """
    connections = [await asyncio.open_connection(host, port) for _ in range(clients)]
    latencies: list[float] = []
    counted = [False]
    stop = asyncio.Event()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        episode = json.loads(
            await exchange(reader, writer, request("POST", "/v1/episodes", b"{}"))
        )["episode_id"]
        wanted = request("POST", f"/v1/episodes/{episode}/action", _OBSERVATION)
        while not stop.is_set():
            start = time.perf_counter()
            await exchange(reader, writer, wanted)
            if counted[0]:
                latencies.append(time.perf_counter() - start)

    tasks = [asyncio.create_task(client(*connection)) for connection in connections]
    await asyncio.sleep(1.0)
    counted[0] = True
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    counted[0] = False
    elapsed = time.perf_counter() - start
    stop.set()
    await asyncio.gather(*tasks)
    health = json.loads(await exchange(*connections[0], request("GET", "/v1/health", b"")))
    for _, writer in connections:
        writer.close()
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return {
        "requests_per_second": round(len(latencies) / elapsed, 1),
        "p50_ms": round(p50, 2),
        "p99_ms": round(p99, 2),
        "batch_size_mean": health["batch_size_mean"],
    }


def request(method: str, path: str, body: bytes) -> bytes:
    """The bytes of a request."""
    headers = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{method} {path} HTTP/1.1\r\n{headers}\r\n".encode() + body


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> bytes:
    """Sends a request and reads the body of its answer, which must be a good one."""
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"the server answered {head[:30]!r} {body!r}")
    return body


if __name__ == "__main__":
    main()
