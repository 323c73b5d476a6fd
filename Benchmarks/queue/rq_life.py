"""rq_life PORT COUNT: jobs enqueued and worked off by two SimpleWorkers at once; prints jobs a second."""

import multiprocessing, sys, time

from redis import Redis
from rq import Queue, SimpleWorker


def work(port):
    connection = Redis(port=port)
    SimpleWorker([Queue(connection=connection)], connection=connection).work(logging_level="ERROR", max_idle_time=None)


if __name__ == "__main__":
    port, count = int(sys.argv[1]), int(sys.argv[2])
    connection = Redis(port=port)
    queue = Queue(connection=connection)
    workers = [multiprocessing.Process(target=work, args=(port,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    queue.enqueue("builtins.len", "warm")
    while queue.finished_job_registry.count < 1:
        time.sleep(0.01)
    begun = time.monotonic()
    for _ in range(count):
        queue.enqueue("builtins.len", "x" * 160)
    while queue.finished_job_registry.count < count + 1:
        time.sleep(0.005)
    seconds = time.monotonic() - begun
    for worker in workers:
        worker.kill()
        worker.join()
    print(count / seconds)
