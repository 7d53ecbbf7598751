/** Named events with plain functions as listeners; the same in a browser and in Node. */
export class Emitter {
  #listeners = new Map();

  /**
   * Call `listener` with each event of this name.
   * @returns {() => void} a function that ends it
   */
  on(name, listener) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all.add(listener));
    return () => all.delete(listener);
  }

  /** Tell the listeners, in the order they came. */
  emit(name, event) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(event);
      } catch (error) {
        // A listener's fault must not tear the protocol apart half-way, and must not be silent either: thrown from
        // a task of its own it reaches window.onerror, or ends a Node process as any uncaught error does.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
