// A map that views can watch. One signal per table says "something changed"; reading any entry listens to it.
// Copying a map of ten thousand members for each presence would cost more than redrawing the forty rows in sight.
import { signal } from "@preact/signals";

export class Table<K, V> {
  private readonly entries = new Map<K, V>();
  private readonly version = signal(0);

  get(key: K): V | undefined {
    void this.version.value;
    return this.entries.get(key);
  }

  /** Reads without listening. */
  peek(key: K): V | undefined {
    return this.entries.get(key);
  }

  values(): V[] {
    void this.version.value;
    return [...this.entries.values()];
  }

  /** Listens to every change, and reads nothing. */
  watch(): void {
    void this.version.value;
  }

  /** Every value, without listening. */
  peekValues(): V[] {
    return [...this.entries.values()];
  }

  get size(): number {
    void this.version.value;
    return this.entries.size;
  }

  set(key: K, value: V): void {
    if (this.entries.get(key) === value) return;
    this.entries.set(key, value);
    this.version.value++;
  }

  setAll(pairs: Iterable<readonly [K, V]>): void {
    for (const [key, value] of pairs) this.entries.set(key, value);
    this.version.value++;
  }

  delete(key: K): void {
    if (this.entries.delete(key)) this.version.value++;
  }

  clear(): void {
    this.entries.clear();
    this.version.value++;
  }
}
